"""Any of the forms that a result can take."""

from alignment.atlas import Atlas
from alignment.pairwise import PairwiseMaps

Form = Atlas | PairwiseMaps
