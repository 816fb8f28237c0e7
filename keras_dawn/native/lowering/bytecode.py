"""Instructions of Python's bytecode: which are harmless, and what one loads, stores and takes.

Their names differ from one Python to the next, so some here are of one of them only.
"""

import itertools

# Those that neither change what was there before nor run Python that is not looked at.
HARMLESS = {
    "RESUME", "NOP", "CACHE", "PRECALL", "PUSH_NULL", "POP_TOP", "COPY", "SWAP", "KW_NAMES",
    "EXTENDED_ARG", "LOAD_FAST", "LOAD_FAST_BORROW", "LOAD_FAST_LOAD_FAST",
    "LOAD_FAST_BORROW_LOAD_FAST_BORROW", "LOAD_FAST_AND_CLEAR", "LOAD_FAST_CHECK", "STORE_FAST",
    "STORE_FAST_LOAD_FAST", "STORE_FAST_STORE_FAST", "DELETE_FAST", "LOAD_CONST",
    "LOAD_SMALL_INT", "RETURN_CONST", "RETURN_VALUE", "BINARY_OP", "BINARY_SUBSCR",
    "BINARY_SLICE", "UNARY_NEGATIVE", "UNARY_NOT", "UNARY_INVERT", "BUILD_TUPLE", "BUILD_LIST",
    "BUILD_MAP", "BUILD_CONST_KEY_MAP", "STORE_SUBSCR", "BUILD_SLICE", "BUILD_STRING",
    "LIST_EXTEND",
    "LIST_APPEND", "LIST_TO_TUPLE", "CALL_INTRINSIC_1", "DICT_UPDATE", "DICT_MERGE", "MAP_ADD",
    "UNPACK_SEQUENCE", "COMPARE_OP", "IS_OP", "CONTAINS_OP", "FOR_ITER", "GET_ITER", "END_FOR",
    "POP_ITER", "TO_BOOL", "NOT_TAKEN", "CALL", "CALL_KW", "CALL_FUNCTION_EX", "LOAD_GLOBAL",
    "LOAD_ATTR", "LOAD_METHOD", "LOAD_DEREF", "STORE_DEREF", "COPY_FREE_VARS", "MAKE_CELL",
    "LOAD_CLOSURE", "MAKE_FUNCTION", "SET_FUNCTION_ATTRIBUTE", "RERAISE", "RAISE_VARARGS",
    "RETURN_GENERATOR", "YIELD_VALUE", "LOAD_ASSERTION_ERROR", "FORMAT_VALUE", "FORMAT_SIMPLE",
    "CONVERT_VALUE", "LOAD_SUPER_ATTR",
}  # fmt: skip
NOTHING = ("CACHE", "PUSH_NULL")
TAKES = ("LOAD_ATTR", "LOAD_METHOD")
JUMPS = ("JUMP_", "POP_JUMP_")
CATCHES = ("PUSH_EXC_INFO", "SETUP_FINALLY", "SETUP_WITH", "BEFORE_WITH", "LOAD_SPECIAL")
FORMATS = ("FORMAT_VALUE", "FORMAT_SIMPLE", "FORMAT_WITH_SPEC", "CONVERT_VALUE")
_CONSTANTS = ("LOAD_CONST", "LOAD_SMALL_INT")


def loaded(one):
    """The local names that an instruction puts on the stack, the last one on top."""
    if one.opname in ("LOAD_FAST", "LOAD_FAST_BORROW", "LOAD_FAST_CHECK", "LOAD_DEREF"):
        return (one.argval,)
    if one.opname in ("LOAD_FAST_LOAD_FAST", "LOAD_FAST_BORROW_LOAD_FAST_BORROW"):
        return tuple(one.argval)
    if one.opname == "STORE_FAST_LOAD_FAST":
        return (one.argval[1],)
    return ()


def stored(one):
    """The local names that an instruction gives a value, or takes it from."""
    if one.opname in ("STORE_FAST", "STORE_DEREF", "DELETE_FAST"):
        return (one.argval,)
    if one.opname == "STORE_FAST_STORE_FAST":
        return tuple(one.argval)
    return (one.argval[0],) if one.opname == "STORE_FAST_LOAD_FAST" else ()


def written_out(instructions, number):
    """The local name of which text is made, `f"{x}"` or `str(x)`, from here on; or `None`."""
    one, after, *_ = (*instructions[number : number + 2], None, None)
    if one.opname != "LOAD_GLOBAL" or after is None:
        formats = after is not None and after.opname in FORMATS
        return loaded(one)[-1] if formats and loaded(one) else None
    last = instructions[number + 2 : number + 3]
    whole = one.argval == "str" and len(loaded(after)) == 1 and last and is_call(last[0])
    return loaded(after)[0] if whole else None


def attributes(instructions, number):
    """The names of the attributes that are taken one after the other, and where they end."""
    names = []
    while number < len(instructions) and instructions[number].opname in TAKES:
        names.append(instructions[number].argval)
        number += 1
    return names, number


def of_super(instructions, number, owner):
    """Where `super().name` or `super(KIND, self).name` begins: `(KIND or None, name, end)`.

    `None` for any other use of `super`.
    """
    after = instructions[number + 1 : number + 6]
    if after and is_call(after[0]):  # of no arguments, in Python 3.11
        kind = None
    elif len(after) > 1 and owner is not None and loaded(after[1]) == (owner,):
        is_cell = after[0].opname == "LOAD_DEREF" and after[0].argval == "__class__"
        if not is_cell and after[0].opname != "LOAD_GLOBAL":
            return None
        kind = None if is_cell else after[0].argval
        after = after[2:]
    else:
        return None
    calls = next((place for place, one in enumerate(after) if not is_call(one)), len(after))
    last = after[calls : calls + 1]
    if calls > 2 or not last or last[0].opname not in (*TAKES, "LOAD_SUPER_ATTR"):
        return None
    return kind, last[0].argval, instructions.index(last[0], number) + 1


def text(instructions, number):
    """The parts of the text that instructions make from here on, and where they end.

    Each part is `(is_local, name or text)`; `None` for what is more than texts and local names.
    """
    stack = []  # of lists of parts, each with whether it is a text for sure
    while number < len(instructions):
        one = instructions[number]
        if one.opname == "LOAD_CONST" and isinstance(one.argval, str):
            stack.append(([(False, one.argval)], True))
        elif len(loaded(one)) == 1:
            stack.append(([(True, loaded(one)[0])], False))
        elif one.opname == "LOAD_GLOBAL" and one.argval == "str":
            stack.append((None, False))
        elif one.opname in FORMATS and one.argval in (None, (None, False)):
            stack[-1] = (stack[-1][0], True)
        elif one.opname == "BUILD_STRING":
            made = itertools.chain.from_iterable(parts for parts, _ in stack[-one.arg :])
            stack[-one.arg :] = [(list(made), True)]
        elif one.opname == "BINARY_OP" and one.argrepr == "+" and all(s for _, s in stack[-2:]):
            stack[-2:] = [(stack[-2][0] + stack[-1][0], True)]
        elif is_call(one) and len(stack) > 1 and stack[-2][0] is None:
            if one.opname == "CALL":  # `str` of one name
                stack[-2:] = [(stack[-1][0], True)]
        else:
            break
        number += 1
    whole = len(stack) == 1 and stack[0][0] is not None
    return (stack[0][0], number) if whole else None


def asked_kinds(instructions, number):
    """`isinstance`'s arguments as `(local name, attributes, classes, end)`, or `None`.

    Each of the classes is a global name and the attributes that are taken of it.
    """
    first, kinds = instructions[number], []
    chain, number = attributes(instructions, number + 1)
    while instructions[number].opname == "LOAD_GLOBAL":
        name = instructions[number].argval
        of_module, number = attributes(instructions, number + 1)
        kinds.append((name, of_module))
    if len(loaded(first)) != 1 or not kinds:
        return None
    if instructions[number].opname == "BUILD_TUPLE":
        if instructions[number].argval != len(kinds):
            return None
        number += 1
    elif len(kinds) > 1:
        return None
    return (loaded(first)[0], chain, kinds, number) if is_call(instructions[number]) else None


def compares_settings(instructions, number, owner):
    """Whether a comparison is of constants and of attributes of the owner alone."""
    number -= 1
    for _ in range(2):
        if instructions[number].opname not in _CONSTANTS:
            while number > 0 and instructions[number].opname in TAKES:
                number -= 1
            if owner is None or loaded(instructions[number]) != (owner,):
                return False
        number -= 1
    return True


def follows_constant(instructions, number):
    """Whether what was put on the stack last is a constant or a global."""
    number -= 1
    while number > 0 and instructions[number].opname in TAKES:
        number -= 1
    return instructions[number].opname in (*_CONSTANTS, "LOAD_GLOBAL", "LOAD_COMMON_CONSTANT")


def is_constant(one):
    """Whether an instruction puts a constant on the stack."""
    return one.opname in _CONSTANTS


def is_call(one):
    """Whether an instruction calls a function with what was put on the stack last."""
    return one.opname.startswith(("CALL", "KW_NAMES", "PRECALL"))


HANDED_ON = "the layer itself is handed to something, which may change it"


def use_of_whole(after):
    """What is done with the layer itself, by the instructions after the one that loads it."""
    if after[0].opname == "STORE_ATTR":
        return f"it sets its attribute {after[0].argval}"
    if after[0].opname == "COPY" and len(after) > 1 and after[1].opname in TAKES:
        return f"it changes its attribute {after[1].argval}"
    return HANDED_ON
