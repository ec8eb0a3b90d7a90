"""The words that the sample people, pages, posts and messages are made of."""
# ruff: noqa: SIM905  (a list of words reads best as a text)

FIRST = tuple(
    "Ada Aiko Amara Anton Asha Bastien Bea Björn Carmen Cem Chidi Clara Dario Dilan Dora Elif Emil Esi Farid Femke "
    "Filip Freya Gustav Hana Hugo Idris Ines Ivo Jada Jonas Kaja Karim Kenji Lena Liam Lina Lotte Luka Maja Mateo "
    "Mei Milo Mina Nadia Nils Noor Olga Omar Oskar Paula Petra Quentin Rafael Rosa Sami Sanna Sofía Tariq Tea Tomás "
    "Uma Vera Viktor Wanda Xenia Yara Yusuf Zoë".split()
)
LAST = tuple(
    "Abara Adeyemi Aydın Bakker Banerjee Beck Berg Bianchi Brandt Castillo Chen Costa Dahl Demir Diallo Duarte Ek "
    "Eriksen Fischer Fofana García Gruber Haddad Hansen Hoang Horvat Ito Jansen Kaya Keller Khan Kim Kovács Kowalski "
    "Larsen Lindqvist Lopes Mbeki Meier Mensah Moreau Moreno Nagy Nakamura Nasser Novák Okafor Olsen Park Patel "
    "Petrov Quispe Ramos Reyes Rossi Sato Schmid Silva Singh Sørensen Szabó Tanaka Toivonen Tran Usman Vega Virtanen "
    "Weber Wójcik Yamada Yılmaz Zhang Ziegler".split()
)
CITIES = (
    "Aarhus", "Accra", "Antwerp", "Basel", "Bilbao", "Bologna", "Brno", "Cork", "Cusco", "Dakar", "Da Nang", "Essen",
    "Fukuoka", "Gdańsk", "Ghent", "Graz", "Haifa", "Izmir", "Kaunas", "Kraków", "La Paz", "Leeds", "Lyon", "Malmö",
    "Mombasa", "Nantes", "Oaxaca", "Oulu", "Pécs", "Porto", "Pune", "Rosario", "Split", "Tampere", "Turin", "Utrecht",
)  # fmt: skip
VIEWS = ("conservative", "green", "liberal", "libertarian", "moderate", "none of them", "socialist")
TOPICS = (
    "Allotments", "Analogue Cameras", "Baroque Music", "Bird Watching", "Board Games", "Bread Baking", "Chess",
    "Cold Water Swimming", "Comics", "Crime Novels", "Cycling", "Cryptic Crosswords", "Dogs", "Drones", "Electric Cars",
    "Falconry", "Fell Running", "Film Noir", "Folk Dancing", "Football", "Fountain Pens", "Free Climbing", "Gardening",
    "Geocaching", "Handball", "Heavy Metal", "Herbal Tea", "Jazz", "Kites", "Knitting", "Lighthouses", "Lock Picking",
    "Marathons", "Model Railways", "Mushrooms", "Night Trains", "Opera", "Origami", "Pinball", "Poetry", "Punk Rock",
    "Quilts", "Radio Plays", "Road Bikes", "Roller Derby", "Rowing", "Sailing", "Sauna", "Science Fiction", "Skiing",
    "Sourdough", "Stamps", "Street Food", "Surfing", "Synthesizers", "Table Tennis", "Tattoos", "Theatre", "Typography",
    "Vegan Cooking", "Vinyl Records", "Volcanoes", "Weather Maps", "Yoga",
)  # fmt: skip
KINDS = ("Friends of {}", "{} for Beginners", "{} Every Day", "The {} Society", "{} Weekly", "I Love {}")
PAGE_CATEGORIES = ("community", "hobby", "magazine", "club", "music", "food")
PHRASES = tuple(
    "the long way home|a very quiet morning|nothing but rain|the best soup in town|one more lap|the last train|"
    "a letter from the landlord|my sister's wedding|three hours of sleep|an old bicycle|the view from the tower|"
    "new glasses|a box of oranges|the neighbour's cat|two left gloves|a queue around the block|an open window|"
    "the first snow|somebody else's umbrella|a table for six|the wrong platform|a song I cannot name".split("|")
)
OPENINGS = ("Today:", "Finally,", "Guess what:", "Still thinking of", "Who remembers", "Grateful for", "Not again:")
REPLIES = (
    "So true!", "Where was that?", "Miss you", "Ha!", "Next time call me", "Beautiful", "I was there too", "Good luck",
    "Tell me more", "Same here",
)  # fmt: skip
