"""JEI-DNN (Regol, Chataoui, Coates, ICLR 2024): gates and exits trained jointly, in turns, on a frozen backbone."""

from eebench_methods.jei_dnn.method import JEIDNN

__all__ = ["JEIDNN"]
