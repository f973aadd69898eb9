"""Feature views over datasets: point-in-time training sets, and the same values online.

airport = Entity("airport", {"origin": str})
weather = FeatureView("weather", airport, source="weather", time="time_hour", ttl="3h", features=["temp", "wind_speed"])
delays = FeatureService("delays", [weather, weather.on({"origin": "dest"}, prefix="dest_")["temp"]])

apply(delays)
train = training_set("flights@2013-03", delays, name="delays-train", time="scheduled")
materialize(weather)
online(delays, [{"origin": "JFK", "dest": "LAX"}])
"""

from trine import lazy

lazy.names(__name__)
