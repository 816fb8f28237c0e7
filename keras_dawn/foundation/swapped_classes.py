"""A class that a layer has for the time of a step, and that nobody is to see or to keep."""

import functools


def class_with_call(base, call, **more):
    """A subclass that looks like its base and has another `__call__`.

    `layer.__class__` is the base, which is what Keras copies, saves and makes layers from. What is
    made of the class or set on it, as by `type(self).count += 1`, is made of the base or set there;
    in comparisons, in tables and for `isinstance` it is the base.
    Copies, by `copy` or `pickle`, are of the base: nobody would put their class back.

    Args:
        base: class of a Keras layer.
        call: function, the other `__call__`.
        **more: further methods that are other ones.
    """

    def __reduce_ex__(layer, protocol):  # noqa: N807
        # For the time of the copy: `copyreg` writes the class that the object has.
        put_class(layer, base)
        try:
            return layer.__reduce_ex__(protocol)
        finally:
            put_class(layer, kind)

    names = ("__module__", "__qualname__", "__doc__")
    like_base = {name: getattr(base, name) for name in names}
    own = {
        "__call__": call,
        "__reduce_ex__": __reduce_ex__,
        "__class__": property(lambda layer: base, put_class),
        "native_base": base,
    }
    kind = _metaclass(type(base))(base.__name__, (base,), own | like_base | more)
    return kind


def put_class(thing, kind):
    """Gives an object a class, past what its present one says of `__class__`."""
    _CLASS.__set__(thing, kind)


_CLASS = vars(object)["__class__"]


_OWN = ("__abstractmethods__", "_abc_impl")  # which an abstract class sets while it is made


@functools.cache
def _metaclass(kind):
    """A metaclass of classes that pass for the base of theirs."""

    class Swapped(kind):
        def __setattr__(self, name, value):
            if name in _OWN:
                super().__setattr__(name, value)
            else:
                setattr(_base(self), name, value)

        def __delattr__(self, name):
            delattr(_base(self), name)

        def __call__(self, *args, **kwargs):
            return _base(self)(*args, **kwargs)

        def __instancecheck__(self, instance):
            return isinstance(instance, _base(self))

        def __subclasscheck__(self, subclass):
            return issubclass(subclass, _base(self))

        def __eq__(self, other):
            return isinstance(other, type) and _base(self) is _base(other)

        def __hash__(self):
            return hash(_base(self))

    return Swapped


def _base(kind):
    return vars(kind).get("native_base", kind)
