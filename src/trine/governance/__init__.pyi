from trine.governance.cards import card as card
from trine.governance.document import Card as Card
from trine.governance.document import Section as Section
from trine.governance.document import Table as Table
from trine.governance.document import Value as Value
