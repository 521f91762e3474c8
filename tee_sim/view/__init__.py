"""Pictures for notebooks: drawn from plain data, stepped through in the page.

Nothing here knows the machine or a monitor, except `recorded`, which draws what happened on a
Platform. `player` shows frames; each ``scene_*`` module turns one kind of data into frames;
`exercise` checks answers without showing them. Importing this package needs no Jupyter.
"""

from tee_sim.view.cards import card, check_card
from tee_sim.view.exercise import Exercise, Prediction, cause_is, predict, seal
from tee_sim.view.markup import Html
from tee_sim.view.matrix import matrix_table
from tee_sim.view.night import house, secret_house
from tee_sim.view.player import Frame, Picture, Player
from tee_sim.view.scene_bytes import bitmap, changed_blocks, memory_picture
from tee_sim.view.scene_funnel import Stage, funnel
from tee_sim.view.scene_memory import memory_map
from tee_sim.view.scene_records import Group, record_strip
from tee_sim.view.scene_screens import two_screens
from tee_sim.view.scene_sequence import sequence
from tee_sim.view.scene_trust import chain_of_trust
from tee_sim.view.scene_walk import page_walk
from tee_sim.view.towers import towers

__all__ = [
    "Exercise",
    "Frame",
    "Group",
    "Html",
    "Picture",
    "Player",
    "Prediction",
    "Stage",
    "bitmap",
    "card",
    "cause_is",
    "chain_of_trust",
    "changed_blocks",
    "check_card",
    "funnel",
    "house",
    "matrix_table",
    "memory_map",
    "memory_picture",
    "page_walk",
    "predict",
    "record_strip",
    "seal",
    "secret_house",
    "sequence",
    "towers",
    "two_screens",
]
