"""Any of the forms that a result can take."""

from alignment.atlas import Atlas
from alignment.pairwise import PairwiseMaps
from alignment.shape import Shape

Form = Atlas | PairwiseMaps | Shape
