/* The library is loaded through ctypes; this empty module makes it an ordinary extension to packaging tools. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_native", "Compiled kernels of jwcal.", -1, NULL};

PyMODINIT_FUNC PyInit__native(void)
{
    return PyModule_Create(&module);
}
