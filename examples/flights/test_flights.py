"""What the loop stands on: no feature knows of a flight before it has landed."""

import flights


def test_a_flight_is_known_after_it_was_scheduled():
    january = flights.arrivals(1).drop_nulls("landed")
    assert (january["landed"] > january["scheduled"]).mean() > 0.999
    assert not {"late", "landed", "arr_delay", "dep_delay", "air_time"} & set(flights.INPUTS)
