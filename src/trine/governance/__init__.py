"""What others need to judge a model: its card, rendered from the graph."""

from trine import lazy

lazy.names(__name__)
