"""Word lists of the procedural text. Our own selection; order matters (seeded draws)."""

NAMES = """
Anna Ben Clara David Emma Felix Grace Henry Iris Jack Kate Leo Mary Noah Olga Paul Rosa Sam Tina
Victor Wendy Adam Bella Carl Diana Eric Fiona George Helen Ivan Julia Kevin Laura Martin Nina
Oscar Peter Ruth Simon Tom
""".split()

HE = set("""
Ben David Felix Henry Jack Leo Noah Paul Sam Victor Adam Carl Eric George Ivan Kevin Martin Oscar
Peter Simon Tom
""".split())

ITEMS = """
apples books coins stamps marbles cards pencils shells stickers buttons cookies eggs flowers balls
candles cups plates keys stones beads tickets photos letters ribbons bottles seeds nuts plums
pears lemons toys pens bricks boats kites
""".split()

CONTAINERS = "boxes bags baskets shelves jars trays drawers crates rows packs".split()

GOODS = """
book pen cup lamp chair hat scarf ball plate clock bag basket candle map kite rope brush bowl
knife blanket
""".split()

PLACES = "market shop school park farm garden library station harbor village".split()

COLORS = "red blue green white black yellow brown grey pink orange silver golden".split()

ANIMALS = """
cat dog horse cow sheep goat duck hen fox wolf bear deer mouse rabbit eagle owl frog snake fish
whale
""".split()

WORDS = """
river stone cloud table window garden bread water light paper mountain forest winter summer
morning evening silver copper letter bridge castle island ocean valley meadow shadow mirror candle
hammer ladder basket button carpet pillow bottle kettle needle thread wagon wheel anchor sailor
farmer baker doctor teacher soldier painter hunter king queen prince village city street market
church tower harbor station school library kitchen cellar attic roof door floor wall chair lamp
clock bell drum flute violin song story poem picture color circle square line point corner edge
center north south east west spring autumn snow rain wind storm thunder fire smoke ash dust sand
clay iron gold salt sugar honey milk butter cheese apple pear plum cherry lemon grape onion carrot
potato bean corn wheat rice barley horse cow sheep goat dog cat mouse rabbit fox wolf bear deer
eagle owl duck hen goose swan fish whale snake frog turtle spider ant bee moth leaf root branch
flower seed grass tree oak pine maple willow rose lily daisy hat coat shoe glove scarf ring chain
key lock box bag cup plate bowl spoon fork knife pen book page map flag boat ship train plane road
path field hill lake shore wave moon sun star planet comet
""".split()

PLAIN_VERBS = """
saw found liked followed painted carried watched lost kept sold washed counted
""".split()

JOBS = "farmer baker doctor teacher painter sailor hunter soldier singer writer cook driver".split()

CITIES = "Oslo Paris Rome Cairo Lima Delhi Tokyo Berlin Madrid Vienna Dublin Athens".split()
