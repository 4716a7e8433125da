/* madang._many: sends to many sockets in one call, without the GIL.
 *
 * Optional: where it isn't built, links write through their transports one by one.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <sys/socket.h>
#include <sys/types.h>

#ifndef MSG_NOSIGNAL /* Python ignores SIGPIPE anyway */
#define MSG_NOSIGNAL 0
#endif

#define FEW 512 /* so many descriptors need no memory of their own */

typedef struct {
    int fd;
    PyObject *buffer; /* bytes, held */
    Py_ssize_t left;
} Target;

PyDoc_STRVAR(send_many_doc,
"send_many(descriptors, buffers, /)\n--\n\n"
"Send to many sockets, without waiting for any.\n\n"
"Args:\n"
"    descriptors: a list of file descriptors of stream sockets.\n"
"    buffers: a list of what goes to each, as bytes; it may be the same object for all.\n\n"
"Returns:\n"
"    For each socket that has not taken all: its place in the lists, and how many bytes it took; after an error, none.\n");

static PyObject *
send_many(PyObject *module, PyObject *const *args, Py_ssize_t count)
{
    Target few[FEW], *targets = few;
    PyObject *result = NULL;
    Py_ssize_t number, held = 0, unfinished = 0;

    (void)module;
    if (count != 2 || !PyList_CheckExact(args[0]) || !PyList_CheckExact(args[1])
        || PyList_GET_SIZE(args[0]) != PyList_GET_SIZE(args[1])) {
        PyErr_SetString(PyExc_TypeError, "send_many takes a list of int and one of bytes, of the same length");
        return NULL;
    }
    number = PyList_GET_SIZE(args[0]);
    if (number > FEW) {
        targets = PyMem_New(Target, number);
        if (targets == NULL)
            return PyErr_NoMemory();
    }
    for (Py_ssize_t i = 0; i < number; i++) {
        PyObject *buffer = PyList_GET_ITEM(args[1], i);
        long fd;
        /* Nothing here runs Python's code, which could change the lists. */
        if (!PyLong_CheckExact(PyList_GET_ITEM(args[0], i)) || !PyBytes_CheckExact(buffer)) {
            PyErr_SetString(PyExc_TypeError, "a descriptor must be an int, and a buffer bytes");
            goto done;
        }
        fd = PyLong_AsLong(PyList_GET_ITEM(args[0], i));
        if (fd < 0 || fd > INT_MAX) {
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_ValueError, "no file descriptor");
            goto done;
        }
        Py_INCREF(buffer); /* the list is another thread's business while the GIL is released */
        targets[i].fd = (int)fd;
        targets[i].buffer = buffer;
        held++;
    }

    Py_BEGIN_ALLOW_THREADS
    for (Py_ssize_t i = 0; i < number; i++) {
        const char *bytes = PyBytes_AS_STRING(targets[i].buffer);
        Py_ssize_t size = PyBytes_GET_SIZE(targets[i].buffer);
        ssize_t sent;
        do
            sent = send(targets[i].fd, bytes, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL);
        while (sent < 0 && errno == EINTR);
        targets[i].left = size - (sent < 0 ? 0 : sent);
        unfinished += targets[i].left > 0;
    }
    Py_END_ALLOW_THREADS

    result = PyList_New(unfinished);
    for (Py_ssize_t i = 0, place = 0; result != NULL && place < unfinished; i++) {
        if (targets[i].left > 0) {
            PyObject *pair = Py_BuildValue("nn", i, PyBytes_GET_SIZE(targets[i].buffer) - targets[i].left);
            if (pair == NULL)
                Py_CLEAR(result);
            else
                PyList_SET_ITEM(result, place++, pair);
        }
    }
done:
    while (held > 0)
        Py_DECREF(targets[--held].buffer);
    if (targets != few)
        PyMem_Free(targets);
    return result;
}

static PyMethodDef methods[] = {
    {"send_many", (PyCFunction)(void (*)(void))send_many, METH_FASTCALL, send_many_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef_Slot slots[] = {
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "madang._many",
    .m_doc = "To many sockets in one call.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__many(void)
{
    return PyModuleDef_Init(&definition);
}
