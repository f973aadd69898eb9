"""Language models: traces of what was asked and answered, what people say of the answers, and the datasets they are judged on.

@trine.trace
def answer(question): ...

search_traces("state = 'error' and duration > 2")
log_feedback(trace.id, "correct", False, rationale="the flight is on Monday")
"""

from trine import lazy

lazy.names(__name__)
