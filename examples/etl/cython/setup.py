"""``python setup.py build_ext --inplace`` makes the module ``gusts``; streamnorm has to be installed, and Cython."""

from Cython.Build import cythonize
from setuptools import Extension, setup

setup(name="gusts", ext_modules=cythonize([Extension("gusts", ["gusts.pyx"])]))
