from trine.insights.measures import DEFINITIONS as DEFINITIONS
from trine.insights.measures import Metric as Metric
from trine.insights.measures import Metrics as Metrics
from trine.insights.rungs import Ladder as Ladder
from trine.insights.rungs import Rung as Rung
from trine.insights.rungs import Standing as Standing
from trine.insights.survey import ladder as ladder
from trine.insights.survey import metrics as metrics
