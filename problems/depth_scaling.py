"""The scaled residual networks of the depth-scaling studies, to train and to diagnose."""

from ocnet.scaling import Res1 as Res1, Res2 as Res2, Res3 as Res3
