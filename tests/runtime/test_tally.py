"""What a device has done, over the lives of its workers."""

from hotbunk.runtime.tally import Tally


def test_a_new_worker_works_on_from_where_the_last_one_was() -> None:
    tally = Tally()
    for worked in (1.0, 4.0, 0.5, 2.0):  # the third beat is another worker's first
        tally.hear(worked)
    assert tally.state()["worked"] == 6.0
