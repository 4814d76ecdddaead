"""Machines with other kernels, in which the tests of this project run.

``kernels`` and ``image`` make what a machine boots from, ``machine`` runs it and watches,
``protocol`` is what it says on its second serial port, ``chosen`` which tests it runs, ``record``
what came of them and the README's table of it. Inside, ``report`` tells what happens,
``processes`` runs the tests, and commands are forks by ``forked`` and ``forkserver``.
"""
