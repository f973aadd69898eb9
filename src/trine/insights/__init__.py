"""How well the machine-learning system is run: delivery metrics of models and code, and the ladder."""

from trine import lazy

lazy.names(__name__)
