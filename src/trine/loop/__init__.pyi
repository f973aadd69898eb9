from trine.loop.cycles import Cycle as Cycle
from trine.loop.definition import Candidate as Candidate
from trine.loop.definition import LoopInfo as LoopInfo
from trine.loop.handle import Loop as Loop
from trine.loop.triggers import OnCommit as OnCommit
from trine.loop.triggers import OnVerdict as OnVerdict
from trine.loop.triggers import Schedule as Schedule
