"""General facts that a language model of any size may know, each with a wrong answer of the same kind.

Their subjects set the scale of the noise in a trace; `python -m auditor.calibrate` edits the ones that the model knows.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fact:
    """`subject relation` is continued by `true`; `false` is an answer of the same kind."""

    subject: str
    relation: str
    true: str
    false: str

    @property
    def prompt(self) -> str:
        """Subject and relation joined."""
        return f"{self.subject} {self.relation}"


_ROWS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "is located in the city of": (
        ("The Eiffel Tower", "Paris", "Rome"), ("The Colosseum", "Rome", "London"), ("Big Ben", "London", "Berlin"),
        ("The Brandenburg Gate", "Berlin", "Madrid"), ("The Kremlin", "Moscow", "Vienna"),
        ("The Louvre", "Paris", "Athens"), ("The Parthenon", "Athens", "Paris"),
        ("The Sagrada Familia", "Barcelona", "Lisbon"), ("The Empire State Building", "New York", "Chicago"),
        ("The Golden Gate Bridge", "San Francisco", "Boston"), ("The Burj Khalifa", "Dubai", "Cairo"),
        ("The Forbidden City", "Beijing", "Tokyo"), ("The Blue Mosque", "Istanbul", "Delhi"),
        ("Buckingham Palace", "London", "Paris"), ("The White House", "Washington", "Boston"),
        ("The Prado Museum", "Madrid", "Rome"), ("The Charles Bridge", "Prague", "Warsaw")),
    "is located in the country of": (
        ("The Great Wall", "China", "India"), ("The Taj Mahal", "India", "Egypt"), ("Machu Picchu", "Peru", "Mexico"),
        ("Stonehenge", "England", "France"), ("Petra", "Jordan", "Greece"), ("Mount Fuji", "Japan", "China"),
        ("Angkor Wat", "Cambodia", "India"), ("Chichen Itza", "Mexico", "Peru")),
    "has its capital in": (
        ("France", "Paris", "Rome"), ("Italy", "Rome", "Paris"), ("Germany", "Berlin", "Madrid"),
        ("Spain", "Madrid", "Berlin"), ("Japan", "Tokyo", "Beijing"), ("China", "Beijing", "Tokyo"),
        ("Russia", "Moscow", "London"), ("Egypt", "Cairo", "Athens"), ("Greece", "Athens", "Cairo"),
        ("Portugal", "Lisbon", "Vienna"), ("Austria", "Vienna", "Lisbon"), ("Poland", "Warsaw", "Prague"),
        ("Norway", "Oslo", "Stockholm"), ("Sweden", "Stockholm", "Oslo"), ("Cuba", "Havana", "Lima"),
        ("Peru", "Lima", "Havana"), ("Ireland", "Dublin", "Madrid"), ("Hungary", "Budapest", "Moscow"),
        ("Turkey", "Ankara", "Cairo"), ("Canada", "Ottawa", "London")),
    "was written by": (
        ("Hamlet", "William Shakespeare", "Charles Dickens"), ("War and Peace", "Leo Tolstoy", "Victor Hugo"),
        ("Don Quixote", "Miguel de Cervantes", "Leo Tolstoy"), ("Oliver Twist", "Charles Dickens", "Mark Twain"),
        ("Pride and Prejudice", "Jane Austen", "Mary Shelley"), ("Frankenstein", "Mary Shelley", "Jane Austen"),
        ("Les Miserables", "Victor Hugo", "Leo Tolstoy"), ("The Odyssey", "Homer", "Plato"),
        ("Moby Dick", "Herman Melville", "Mark Twain"), ("Dracula", "Bram Stoker", "Charles Dickens")),
    "was invented by": (
        ("The telephone", "Alexander Graham Bell", "Thomas Edison"),
        ("The light bulb", "Thomas Edison", "Isaac Newton"),
        ("Dynamite", "Alfred Nobel", "James Watt"), ("The printing press", "Johannes Gutenberg", "Alfred Nobel"),
        ("The World Wide Web", "Tim Berners-Lee", "Bill Gates"), ("The radio", "Guglielmo Marconi", "James Watt")),
    "was created by": (
        ("Microsoft", "Bill Gates", "Steve Jobs"), ("Facebook", "Mark Zuckerberg", "Bill Gates"),
        ("Amazon", "Jeff Bezos", "Steve Jobs"), ("The Mona Lisa", "Leonardo da Vinci", "Pablo Picasso"),
        ("Guernica", "Pablo Picasso", "Vincent van Gogh"), ("The Starry Night", "Vincent van Gogh", "Claude Monet")),
    "was discovered by": (
        ("Radium", "Marie Curie", "Isaac Newton"), ("Penicillin", "Alexander Fleming", "Marie Curie"),
        ("Gravity", "Isaac Newton", "Charles Darwin"), ("Oxygen", "Joseph Priestley", "Louis Pasteur")),
    "was born in the country of": (
        ("Albert Einstein", "Germany", "France"), ("Marie Curie", "Poland", "Italy"),
        ("Charles Darwin", "England", "Spain"), ("Pablo Picasso", "Spain", "Germany"),
        ("Leonardo da Vinci", "Italy", "Russia"), ("Mozart", "Austria", "England"),
        ("Nelson Mandela", "South Africa", "Brazil"), ("Mahatma Gandhi", "India", "China")),
    "is a country whose people speak": (
        ("Brazil", "Portuguese", "Spanish"), ("Mexico", "Spanish", "German"), ("Argentina", "Spanish", "French"),
        ("Switzerland", "German", "Italian"), ("Iran", "Persian", "Turkish"), ("Denmark", "Danish", "Dutch")),
    "has the chemical symbol": (
        ("Gold", "Au", "Fe"), ("Iron", "Fe", "Au"), ("Silver", "Ag", "Cu"), ("Copper", "Cu", "Ag"),
        ("Helium", "He", "Na"), ("Sodium", "Na", "He")),
    "makes its home on the continent of": (
        ("The kangaroo", "Australia", "Africa"), ("The giraffe", "Africa", "Asia"),
        ("The penguin", "Antarctica", "Asia"), ("The giant panda", "Asia", "Europe")),
    "plays the sport of": (
        ("Michael Jordan", "basketball", "football"), ("Roger Federer", "tennis", "golf"),
        ("Tiger Woods", "golf", "tennis"), ("Lionel Messi", "football", "basketball")),
}

FACTS: tuple[Fact, ...] = tuple(Fact(subject, relation, true, false)
                                for relation, rows in _ROWS.items() for subject, true, false in rows)

SUBJECTS: tuple[str, ...] = tuple(dict.fromkeys(fact.subject for fact in FACTS))
"""Distinct subjects, in order."""
