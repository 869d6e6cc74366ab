"""Sentences and words that only training uses.

What the evaluation uses too comes from the program (data/wordings.py); a test holds both apart from
everything that is held out.  {a} attribute, {k} key, {v} value, {K} key with a capital.
"""

STATEMENTS = (
    "{K} has the {a} {v}.",
    "It was written that the {a} for {k} is {v}.",
    "The {a} belonging to {k} is {v}.",
    "The {a} given to {k} was {v}.",
    "The {a} assigned to {k} is {v}.",
    "Remember: the {a} of {k} is {v}.",
    "We know that the {a} for {k} is {v}.",
    "They say that the {a} of {k} is {v}.",
    "According to the list, the {a} for {k} is {v}.",
    "It is a fact that the {a} of {k} is {v}.",
    "{v} is the {a} of {k}.",
    "{v} is the {a} for {k}.",
    "In the register, {k} has the {a} {v}.",
    "The clerk noted {v} as the {a} for {k}.",
    "The record for {k} shows the {a} {v}.",
    "Everybody agreed that the {a} for {k} is {v}.",
)
QUESTIONS = (
    "What is the {a} for {k}?",
    "What is the {a} of {k}?",
    "Tell me the {a} for {k}.",
    "Tell me the {a} of {k}.",
    "What is the {a} for {k} mentioned in the provided text?",
    "Do you remember the {a} of {k}?",
    "Please give me the {a} for {k}.",
    "What was the {a} of {k}?",
    "Find the {a} for {k}.",
)
VALUE_ONLY = (" Reply with the value only.", " Answer with the value only.")
MANY_KEYS_QUESTION = "What are the {a}s for {k}?"
MANY_VALUES_QUESTION = "What are all the {a}s for {k}?"
ANSWER = "The {a} for {k} is"
MANY_VALUES_ANSWER = "The {a}s for {k} are"

HOP_STATEMENTS = ("The {r} of {o} is {p}.", "{p} is the {r} of {o}.")
HOP_FACT = "The {a} of {p} is {v}."
HOP_QUESTION = "What is the {a} of the {r} of {o}?"
HOP_FIRST_QUESTION = "Who is the {r} of {o}?"
HOP_ANSWER = "The {r} of {o} is"
RELATIONS = ("owner", "keeper", "maker", "author", "buyer", "painter", "guardian")

CHAIN_LINES = ("VAR {x} = {v}.", "VAR {x} = VAR {y}.")
# RULER's answer tells how many there are before it names them; who has to look for each in turn
# cannot know that first, so this one does not.
CHAIN_ANSWER = (
    "Answer: According to the chain(s) of variable assignment in the text above, the variables "
    "that are assigned the value {v} are:"
)
CHAIN_VALUE_QUESTION = "What is the value of VAR {x}?"

INSTRUCTIONS = (
    "Read the following text carefully.\n",
    "There is important information hidden inside a lot of irrelevant text. Find it.\n",
    "Memorize what the following text says. Questions will follow.\n",
)

# Attributes whose values are no numbers, and what their values are.
WORD_ATTRIBUTES = (
    ("favourite colour", "colour"), ("home town", "town"), ("password", "word"),
    ("code word", "word"), ("favourite animal", "word"), ("nickname", "word"),
    ("secret word", "word"), ("hiding place", "word"), ("special magic word", "word"),
    ("best friend", "person"), ("teacher", "person"),
)  # fmt: skip

COLOURS = (
    "red", "blue", "green", "yellow", "purple", "orange", "black", "white", "silver", "golden",
    "brown", "pink", "grey", "crimson", "violet",
)  # fmt: skip
TOWNS = (
    "London", "Paris", "Rome", "Berlin", "Madrid", "Vienna", "Moscow", "Lisbon", "Dublin",
    "Athens", "Cairo", "Boston", "Chicago", "Geneva", "Venice", "Naples", "Oxford", "York",
    "Bath", "Dover", "Bristol", "Leeds", "Hamburg", "Florence", "Milan", "Lyon", "Bergen", "Oslo",
    "Prague", "Warsaw",
)  # fmt: skip
FIRST_NAMES = (
    "Alice", "Bob", "Carol", "David", "Emma", "Frank", "Grace", "Henry", "Irene", "Jack", "Kate",
    "Leo", "Mary", "Nina", "Oscar", "Paul", "Rose", "Sam", "Tom", "Victor", "Wendy", "Anna",
    "Boris", "Clara", "Daniel", "Edith", "Felix", "George", "Hannah", "Ivan", "Julia", "Karl",
    "Laura", "Martin", "Nora", "Otto", "Peter", "Rachel", "Simon", "Teresa", "Ursula", "Vera",
    "Walter",
)  # fmt: skip
LAST_NAMES = (
    "Brown", "Smith", "Stone", "Hill", "Wood", "Baker", "Fisher", "Carter", "Mason", "Parker",
    "Cooper", "Turner", "Walker", "Young", "King", "Wright", "Green", "White", "Black", "Gray",
    "Long", "Rivers", "Fields", "Marsh", "Banks", "Wells", "Ford", "Lane", "West", "North",
)  # fmt: skip
WORLD_PLACES = (
    "attic", "parlour", "bakery", "market", "harbour", "orchard", "tower", "office", "bridge",
    "museum", "theatre", "barn", "cottage", "station", "courtyard", "workshop",
)  # fmt: skip
WORLD_OBJECTS = (
    "lamp", "letter", "basket", "key", "ring", "hammer", "blanket", "bottle", "map", "clock",
    "coin", "mirror", "umbrella", "drum", "kettle", "candle",
)  # fmt: skip
