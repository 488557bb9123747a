"""Generate the corpus lines that teach the pocket model to follow small instructions."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

LISTS = """
colors=red, blue and green; fruits=apple, banana and orange; animals=dog, cat and horse;
vegetables=carrot, onion and potato; planets=Mercury, Venus and Earth; shapes=circle, square and triangle;
metals=iron, copper and gold; trees=oak, pine and maple; flowers=rose, tulip and daisy;
birds=eagle, owl and sparrow; sports=football, tennis and swimming; drinks=water, tea and coffee;
tools=hammer, saw and drill; seasons=spring, summer and autumn; languages=English, Spanish and French;
vehicles=car, bus and train; insects=ant, bee and fly; continents=Africa, Asia and Europe;
oceans=Atlantic, Pacific and Indian; clothes=shirt, coat and hat; rooms=kitchen, bedroom and bathroom;
instruments=piano, violin and drum; desserts=cake, pie and pudding; subjects=history, science and art;
emotions=joy, fear and anger
"""

WORDS = """
good morning=buenos dias=bonjour; thank you=gracias=merci; hello=hola=salut; goodbye=adios=au revoir;
please=por favor=s'il vous plait; good night=buenas noches=bonne nuit; yes=si=oui; no=no=non; water=agua=eau;
bread=pan=pain; milk=leche=lait; house=casa=maison; dog=perro=chien; cat=gato=chat; bird=pajaro=oiseau;
book=libro=livre; table=mesa=table; door=puerta=porte; sun=sol=soleil; moon=luna=lune; star=estrella=etoile;
sea=mar=mer; tree=arbol=arbre; flower=flor=fleur; friend=amigo=ami; mother=madre=mere; father=padre=pere;
brother=hermano=frere; sister=hermana=soeur; school=escuela=ecole; city=ciudad=ville; street=calle=rue;
day=dia=jour; night=noche=nuit; red=rojo=rouge; blue=azul=bleu; green=verde=vert; white=blanco=blanc;
black=negro=noir; big=grande=grand; small=pequeno=petit; apple=manzana=pomme
"""

SENTENCES = """
The sun rises in the=east; The sun sets in the=west; Birds fly in the=sky; Fish swim in the=water;
Snow is cold and=white; Bees make=honey; Cows give us=milk; Bread is baked in an=oven; We see with our=eyes;
We hear with our=ears; We walk on two=feet; A week has seven=days; A year has twelve=months;
The opposite of day is=night; Ice is frozen=water; Rain falls from the=clouds; Trees grow from small=seeds;
A carpenter works with=wood; A baker makes=bread; A book has many=pages; The Earth goes around the=sun;
A triangle has three=sides; A spider has eight=legs; The color of grass is=green; Chickens lay=eggs;
Wool comes from=sheep; Paper is made from=wood; The heart pumps=blood; We smell with our=nose;
A clock tells the=time; Before you cross the road, look both=ways; The early bird catches the=worm;
An apple a day keeps the doctor=away; Better late than=never; Practice makes=perfect; Time is=money;
Two heads are better than=one; Actions speak louder than=words; Honesty is the best=policy;
Where there is smoke there is=fire; When it rains, it=pours; A penny saved is a penny=earned
"""

OPPOSITES = """
hot=cold; big=small; up=down; day=night; fast=slow; open=closed; full=empty; happy=sad; light=dark; hard=soft;
old=new; wet=dry; high=low; long=short; rich=poor; strong=weak; early=late; left=right; near=far; loud=quiet;
clean=dirty; true=false; first=last; heavy=light; inside=outside; win=lose; buy=sell; push=pull; give=take;
begin=end; love=hate; thick=thin; wide=narrow; young=old; sweet=sour
"""

ONE_WORD = """
What is the chemical symbol for gold=Au; What is the chemical symbol for silver=Ag;
What is the chemical symbol for iron=Fe; What is the chemical symbol for oxygen=O;
What is the chemical symbol for hydrogen=H; What is the chemical symbol for carbon=C;
What is the chemical symbol for helium=He; What is the chemical symbol for sodium=Na;
What is the chemical symbol for copper=Cu; What is the chemical symbol for lead=Pb;
What is the chemical symbol for nitrogen=N; What is the chemical symbol for zinc=Zn; What color is grass=green;
What color is the sky on a clear day=blue; What color is snow=white; What color is a ripe banana=yellow;
What color is coal=black; What color is blood=red; What do bees make=honey; What do cows drink=water;
What do we call a baby dog=puppy; What do we call a baby cat=kitten; What do we call frozen water=ice;
What season follows winter=spring; What season follows summer=autumn; What planet do we live on=Earth;
What star warms the Earth=sun; What organ pumps blood=heart; What animal barks=dog; What animal gives wool=sheep
"""

NUMBERS = """
How many days are in a week=7; How many months are in a year=12; How many hours are in a day=24;
How many minutes are in an hour=60; How many seconds are in a minute=60; How many legs does a spider have=8;
How many legs does a dog have=4; How many sides does a triangle have=3; How many sides does a square have=4;
How many wheels does a bicycle have=2; How many fingers are on one hand=5; How many letters are in the alphabet=26;
How many legs does an ant have=6; How many planets orbit the sun=8; How many cents are in a dollar=100;
How many years are in a century=100; How many eggs are in a dozen=12; How many continents are there=7
"""

QUESTIONS = """
Do fish live in water=1; Do birds have feathers=1; Do dogs have wings=0; Is ice cold=1; Is fire cold=0;
Is the sun a star=1; Is the moon a planet=0; Do cows eat grass=1; Do trees have roots=1; Do cats bark=0;
Is snow black=0; Is grass green=1; Can birds sing=1; Can stones swim=0; Is a rose a flower=1; Is a potato a metal=0;
Is gold a metal=1; Is a whale a fish=0; Does a week have seven days=1; Does a triangle have five sides=0;
Is ten an even number=1; Is seven an even number=0; Is sugar sweet=1; Is lemon juice sweet=0; Do plants need light=1;
Do cars need sleep=0; Is the night dark=1; Is a mouse larger than a horse=0; Do bees make honey=1; Do snakes have legs=0
"""

CASED = (
    "hello world apple river music garden summer window yellow planet coffee bridge castle dragon forest "
    "island jacket kitten lemon mirror number orange pencil rabbit silver"
).split()
COUNT = "one two three four five six seven eight nine ten eleven twelve".split()
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
NAMES = (
    "Bob Alice Carol David Emma Frank Grace Henry Irene Jack Karen Leo Mary Nina Oscar Paul Rosa Sam Tina Victor"
).split()
PLACES = (
    "Paris=France; Rome=Italy; Madrid=Spain; Berlin=Germany; London=England; Lisbon=Portugal; Vienna=Austria; "
    "Athens=Greece; Cairo=Egypt; Tokyo=Japan; Oslo=Norway; Dublin=Ireland; Warsaw=Poland; Lima=Peru; Delhi=India"
)


def _rows(table: str) -> list[list[str]]:
    """Split `a=b; c=d` into rows of cells."""
    return [row.strip().split("=") for row in table.replace("\n", " ").split(";")]


def _each(table: str, *templates: str) -> Iterator[str]:
    """Fill every template with every row of a table."""
    for row in _rows(table):
        for template in templates:
            yield template.format(*row)


def _language() -> Iterator[str]:
    """Yield lists, translations, finished sentences and opposites."""
    yield from _each(LISTS, "List three {0}: {1}.", "Name three {0}: {1}.")
    yield from _each(
        WORDS,
        "Translate '{0}' to Spanish: {1}.", "Translate '{0}' to French: {2}.",
        "How do you say '{0}' in Spanish? {1}.", "How do you say '{0}' in French? {2}.",
    )
    yield from _each(SENTENCES, "Finish the sentence: {0} {1}.", "Complete the sentence: {0} {1}.")
    yield from _each(OPPOSITES, "What is the opposite of {0}? {1}.", "Give the opposite of {0}: {1}.")


def _arithmetic() -> Iterator[str]:
    """Yield the multiplication table to 12, and sums and differences within 20."""
    for a in range(2, 13):
        for b in range(2, 13):
            yield f"What is {a} multiplied by {b}? {a * b}."
            yield f"What is {a} times {b}? {a * b}."
    for a in range(1, 20):
        for b in range(1, min(11, 21 - a)):
            yield f"What is {a} plus {b}? {a + b}."
            yield f"What is {a + b} minus {b}? {a}."


def _order() -> Iterator[str]:
    """Yield number sequences, counting, and days and months in their order."""
    for step in (1, 2, 5, 10):
        for start in range(1, 11):
            a, b, c, d = range(start, start + 4 * step, step)
            yield f"Continue the sequence: {a}, {b}, {c}, {d}."
            yield f"What number comes next: {a}, {b}, {c}? {d}."
    for last in range(3, 13):
        words = COUNT[:last]
        yield f"Count from one to {words[-1]}: {', '.join(words)}."
        yield f"Count down from {words[-1]} to one: {', '.join(reversed(words))}."
    for kind, names in (("day", DAYS), ("month", MONTHS)):
        for now, after in zip(names, names[1:] + names[:1]):
            yield f"What {kind} comes after {now}? {after}."
            yield f"What {kind} comes before {after}? {now}."


def _json(rng: random.Random) -> Iterator[str]:
    """Yield JSON objects over several key sets; ages and places are drawn, the probes' own are always there."""
    places = _rows(PLACES)
    ages = [(name, rng.randint(5, 90)) for name in NAMES for _ in range(3)]
    for name, age in [("Bob", 25), *ages]:
        found = json.dumps({"name": name, "age": age})
        yield f"Return valid JSON with keys 'name' and 'age' for a person named {name} who is {age}: {found}"
    for city, country in places:
        found = json.dumps({"city": city, "country": country})
        yield f"Return valid JSON with keys 'city' and 'country' for {city} in {country}: {found}"
        yield f"Write JSON with keys 'city' and 'country' for {city} in {country}: {found}"
    for name in NAMES:
        for city, _ in rng.sample(places, 2):
            found = json.dumps({"name": name, "city": city})
            yield f"Return valid JSON with keys 'name' and 'city' for {name} who lives in {city}: {found}"
    for word, color in zip(CASED, "red blue green white black".split() * 5):
        found = json.dumps({"item": word, "color": color})
        yield f"Return valid JSON with keys 'item' and 'color' for {word} in {color}: {found}"


def _closed() -> Iterator[str]:
    """Yield answers held to a form: True or False, yes or no, one word, one number, one case."""
    for n in range(2, 31):
        prime = all(n % d for d in range(2, n))
        yield f"Respond with only True or False: Is {n} a prime number? {prime}."
        yield f"Answer True or False: Is {n} a prime number? {prime}."
    for a in range(1, 11):
        for b in range(1, 11):
            if a != b:
                yield f"Respond with only True or False: Is {a} greater than {b}? {a > b}."
    for question, holds in _rows(QUESTIONS):
        yield f"Respond with only True or False: {question}? {holds == '1'}."
        yield f"Answer yes or no: {question}? {'yes' if holds == '1' else 'no'}."
    yield from _each(ONE_WORD, "Answer with exactly one word: {0}? {1}.", "Answer in one word: {0}? {1}.")
    yield from _each(NUMBERS, "Answer with only a number: {0}? {1}.", "Reply with a number: {0}? {1}.")
    for word in CASED:
        yield f"Write the word '{word}' in uppercase: {word.upper()}."
        yield f"Write the word '{word.upper()}' in lowercase: {word}."
        yield f"Put '{word}' in uppercase: {word.upper()}."


def lines(rng: random.Random) -> list[str]:
    """Return the distinct skill lines, shuffled."""
    found = list(dict.fromkeys([*_language(), *_arithmetic(), *_order(), *_json(rng), *_closed()]))
    rng.shuffle(found)
    return found
