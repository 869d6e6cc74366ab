// Words of needle keys: nouns and adjectives that the bundled model met in its training text, but in
// no needle.
#include "eval/words.h"

#include <array>

namespace precis {
namespace {

constexpr std::array<std::string_view, 337> kNouns = {
    "accordion", "adjutant",  "admirer",   "adulation", "affidavit", "affluence", "alarm",
    "allegory",  "alley",     "alligator", "amity",     "amusement", "ancestry",  "antipathy",
    "apartment", "apology",   "approval",  "arbor",     "armor",     "aspen",     "assembly",
    "audacity",  "aurora",    "author",    "avenger",   "avidity",   "baleen",    "balm",
    "banknote",  "bard",      "bargeman",  "bast",      "bathtub",   "bayou",     "beak",
    "beard",     "beverage",  "birthday",  "biscuit",   "boatman",   "booth",     "breeder",
    "brougham",  "buckler",   "buckskin",  "bullet",    "butler",    "cabman",    "calendar",
    "candle",    "candour",   "caravan",   "casino",    "casket",    "cavalcade", "celebrity",
    "cemetery",  "centre",    "channel",   "chapter",   "chosen",    "cipher",    "citadel",
    "climax",    "cobra",     "cocoa",     "coconut",   "coffer",    "comfort",   "comforter",
    "committee", "commotion", "concourse", "confusion", "contact",   "contempt",  "copper",
    "cornet",    "coroner",   "cottage",   "council",   "courtyard", "crate",     "credulity",
    "cricket",   "curtain",   "custard",   "customer",  "dairy",     "defect",    "delusion",
    "deserter",  "detection", "detective", "deviation", "dexterity", "dialect",   "diction",
    "diet",      "diffusion", "diploma",   "disease",   "display",   "divan",     "donation",
    "donkey",    "dory",      "drum",      "drummer",   "duel",      "dungeon",   "earl",
    "effusion",  "elbow",     "ermine",    "exigency",  "explosion", "extremity", "faction",
    "fame",      "fervour",   "figure",    "flux",      "folio",     "folly",     "forenoon",
    "freak",     "gala",      "garden",    "gardener",  "geniality", "gentry",    "gondolier",
    "gourd",     "grape",     "gratitude", "gravy",     "greed",     "grocer",    "gymnasium",
    "hammock",   "haven",     "hearth",    "hilltop",   "hinge",     "horsehair", "housework",
    "hunk",      "hydrogen",  "immersion", "impulse",   "insomnia",  "instance",  "ironwork",
    "jasmine",   "jelly",     "jester",    "joker",     "joviality", "kingdom",   "kiosk",
    "kitchen",   "knapsack",  "knife",     "knowledge", "labyrinth", "ladder",    "lamp",
    "larva",     "laundry",   "lender",    "linguist",  "lustre",    "lute",      "madame",
    "magician",  "mandible",  "marrow",    "maze",      "medal",     "menu",      "messenger",
    "militia",   "miscreant", "moat",      "momentum",  "mould",     "moustache", "mouth",
    "movement",  "mustard",   "mutton",    "namesake",  "nephew",    "nickname",  "notebook",
    "novice",    "nutmeg",    "obscurity", "obstinacy", "ocean",     "onion",     "opal",
    "orbit",     "organism",  "oven",      "overcoat",  "owner",     "packet",    "pageant",
    "paraffin",  "parsimony", "passage",   "pavilion",  "peddler",   "peerage",   "penknife",
    "petition",  "pheasant",  "phial",     "philology", "physique",  "pinafore",  "pique",
    "plaid",     "planet",    "platoon",   "portrait",  "poundage",  "precept",   "presage",
    "pretense",  "printer",   "probity",   "progeny",   "proselyte", "pupil",     "purchase",
    "purse",     "quill",     "rain",      "ransom",    "rectory",   "renewal",   "response",
    "rider",     "rite",      "riverside", "rook",      "ruler",     "ruth",      "safety",
    "salvation", "sanctity",  "sandstone", "sash",      "savant",    "school",    "scientist",
    "scimitar",  "scull",     "seaweed",   "secretion", "selection", "sentence",  "service",
    "servitor",  "shape",     "sheaf",     "shotgun",   "shriek",    "sincerity", "siren",
    "skunk",     "sloth",     "snuffbox",  "soil",      "song",      "sphinx",    "spider",
    "spirit",    "splendor",  "squeak",    "squire",    "stability", "storey",    "stripe",
    "stubble",   "suavity",   "subway",    "suffrage",  "suite",     "sunbeam",   "supremacy",
    "tang",      "teacher",   "tenement",  "tension",   "text",      "thatch",    "thaw",
    "tillage",   "tirade",    "tone",      "topic",     "torpor",    "tracery",   "tramway",
    "traveler",  "tray",      "tribe",     "troth",     "tumult",    "turmoil",   "unanimity",
    "uncle",     "utterance", "valley",    "vanity",    "veal",      "verge",     "vibration",
    "vigil",     "vigour",    "vinegar",   "violation", "virtue",    "visitor",   "voyage",
    "waiter",    "wand",      "warden",    "waterfall", "waterman",  "whack",     "womanhood",
    "wreath"};

constexpr std::array<std::string_view, 280> kAdjectives = {
    "ablaze",    "absorbed",  "abundant",  "abysmal",   "accurate",  "adoring",   "alluring",
    "amazed",    "ample",     "anxious",   "appalled",  "armed",     "athletic",  "attended",
    "attentive", "autumnal",  "averse",    "baffled",   "benighted", "blocked",   "blunted",
    "bountiful", "branched",  "brilliant", "brimming",  "bristled",  "brownish",  "brusque",
    "burnished", "changed",   "chartered", "cheap",     "checkered", "clad",      "clipped",
    "composite", "connected", "contrary",  "convivial", "copious",   "cordial",   "coupled",
    "crusted",   "cynical",   "daunted",   "dauntless", "deafened",  "decayed",   "dedicated",
    "deepening", "dense",     "derelict",  "desperate", "destitute", "desultory", "difficult",
    "disliked",  "dominated", "doubting",  "downy",     "drastic",   "earned",    "edifying",
    "effectual", "eldest",    "electric",  "elevated",  "enchanted", "endowed",   "entangled",
    "episcopal", "equitable", "eventful",  "everyday",  "exalted",   "exhausted", "exuberant",
    "exulting",  "fanatical", "fantastic", "fatal",     "faulty",    "ferocious", "fetching",
    "finished",  "fired",     "flagrant",  "forlorn",   "fretted",   "fringed",   "frozen",
    "frugal",    "furnished", "glazed",    "grand",     "grateful",  "greatest",  "grimy",
    "gripping",  "guarded",   "guiding",   "healthy",   "helpful",   "heralded",  "hewn",
    "highborn",  "horned",    "identical", "ignoble",   "illegible", "impartial", "improving",
    "imprudent", "impure",    "inactive",  "indolent",  "infirm",    "injurious", "innermost",
    "insistent", "insoluble", "inviolate", "jagged",    "jingling",  "jolting",   "juicy",
    "labouring", "lamented",  "lank",      "lateral",   "legal",     "limitless", "littered",
    "lowly",     "lush",      "malignant", "manual",    "masterly",  "matutinal", "melting",
    "mesmeric",  "morbid",    "muddled",   "mundane",   "musical",   "navigable", "neurotic",
    "noble",     "nocturnal", "normal",    "notable",   "oblique",   "observant", "obsolete",
    "opportune", "opulent",   "oral",      "outdoor",   "outraged",  "overdue",   "parked",
    "pedantic",  "pensive",   "pent",      "personal",  "perturbed", "pettish",   "pickled",
    "pillared",  "pinched",   "pinkish",   "placid",    "planned",   "plucked",   "plural",
    "polite",    "probing",   "profound",  "provoked",  "punctual",  "rainy",     "rattled",
    "receptive", "recovered", "repugnant", "restless",  "retiring",  "rheumatic", "rich",
    "riddled",   "rimmed",    "rising",    "robust",    "rocky",     "rouged",    "royal",
    "running",   "rural",     "sane",      "sanitary",  "sardonic",  "scholarly", "screaming",
    "senseless", "sensitive", "separated", "shameful",  "shared",    "shiftless", "shipboard",
    "shivering", "shriveled", "shrunken",  "sickly",    "simple",    "sisterly",  "skimmed",
    "slender",   "sloped",    "sluggish",  "smashing",  "smoothed",  "snowy",     "snug",
    "soaring",   "soiled",    "somnolent", "sorrowful", "sparkling", "spent",     "spoiled",
    "spoken",    "stinging",  "stormy",    "stricken",  "sunburnt",  "sunny",     "supreme",
    "sweeping",  "talkative", "tanned",    "taxing",    "tearing",   "thorough",  "thronged",
    "thwarted",  "tickling",  "ticklish",  "tiresome",  "tiring",    "tittering", "topmost",
    "touched",   "tragical",  "tropic",    "truthful",  "unbroken",  "uncovered", "unerring",
    "unfair",    "ungainly",  "unhappy",   "unlike",    "unlikely",  "unveiled",  "unwritten",
    "upper",     "upright",   "vagrant",   "vaporous",  "varnished", "wandering", "warlike",
    "wasted",    "weakened",  "webbed",    "weighty",   "wiry",      "worn",      "yielding"};

}  // namespace

std::span<const std::string_view> key_nouns() {
  return kNouns;
}
std::span<const std::string_view> key_adjectives() {
  return kAdjectives;
}

}  // namespace precis
