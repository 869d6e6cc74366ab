// Generated prose: sentences of plain narrative English from frames and word lists.
//
// It stands in for a book where the user gives none.  It names no number and no key, so it cannot
// answer a question; it is more regular than a book, and reports call it "generated prose".
#include <array>

#include "eval/draws.h"
#include "eval/haystack.h"

namespace precis {
namespace {

using Words = std::span<const std::string_view>;

constexpr std::string_view kPersons[] = {
    "the miller",         "the old sailor",  "the schoolmaster", "the widow",
    "the doctor",         "the young clerk", "the carpenter",    "the colonel",
    "the housekeeper",    "the stranger",    "the curate",       "the postman",
    "the shepherd",       "the innkeeper",   "the lawyer",       "the captain",
    "the nurse",          "the blacksmith",  "the painter",      "the judge",
    "the ferryman",       "the tailor",      "the professor",    "the weaver",
    "the baker's wife",   "the gamekeeper",  "my uncle",         "my grandmother",
    "her brother",        "his cousin",      "the landlord",     "the two sisters",
    "the beggar",         "the bishop",      "the fiddler",      "the merchant",
    "the night watchman", "the governess",   "the apprentice",   "the mayor"};
constexpr std::string_view kAdjectives[] = {
    "old",    "narrow", "heavy",  "quiet",   "broken",  "small",   "painted", "cold",   "dark",
    "plain",  "wooden", "lonely", "dusty",   "bright",  "crooked", "empty",   "fine",   "worn",
    "silent", "grey",   "tall",   "humble",  "curious", "faded",   "gentle",  "hollow", "pale",
    "rough",  "simple", "steep",  "strange", "thick",   "damp",    "warm",    "weary",  "wide"};
constexpr std::string_view kThings[] = {
    "letter",        "lantern",         "basket",       "cart",
    "ledger",        "kettle",          "violin",       "coat",
    "clock",         "spade",           "mirror",       "chair",
    "map",           "bottle",          "saddle",       "candle",
    "rope",          "trunk",           "picture",      "bell",
    "ladder",        "blanket",         "parcel",       "book",
    "boat",          "wheel",           "hammer",       "shawl",
    "walking stick", "newspaper",       "umbrella",     "loaf of bread",
    "bundle of hay", "pair of boots",   "silver spoon", "box of nails",
    "pile of wood",  "bunch of flowers"};
constexpr std::string_view kPlaces[] = {
    "in the kitchen",      "by the river",       "behind the church",  "at the edge of the wood",
    "on the bridge",       "near the mill",      "in the market",      "at the harbour",
    "under the oak",       "in the upper room",  "beside the fire",    "on the hill",
    "at the crossroads",   "in the stable",      "outside the inn",    "along the canal",
    "in the courtyard",    "across the valley",  "below the castle",   "on the landing",
    "in the next village", "at the garden gate", "beyond the orchard", "in the waiting room",
    "on the old pier",     "over the shop",      "in the library",     "by the stone wall"};
constexpr std::string_view kTimes[] = {"that evening",
                                       "before breakfast",
                                       "late in the autumn",
                                       "on the following day",
                                       "after the rain",
                                       "towards midnight",
                                       "early in the morning",
                                       "some weeks later",
                                       "during the long winter",
                                       "at last",
                                       "when the bells had stopped",
                                       "a little before sunset",
                                       "in those years",
                                       "on market days",
                                       "once the snow had melted",
                                       "while the others slept",
                                       "as soon as it was light",
                                       "after a long silence",
                                       "in the middle of summer",
                                       "the year before"};
constexpr std::string_view kActions[] = {
    "carried",  "mended",       "forgot",     "sold",       "found",      "hid",
    "cleaned",  "dropped",      "borrowed",   "examined",   "painted",    "lifted",
    "lost",     "brought",      "wanted",     "noticed",    "kept",       "bought",
    "returned", "pushed aside", "looked for", "laughed at", "pointed to", "remembered",
    "put away", "described",    "measured",   "gave up",    "asked for",  "waited for"};
constexpr std::string_view kDeeds[] = {
    "walked slowly",          "said nothing",        "slept badly",
    "laughed aloud",          "turned away",         "sat down",
    "began to sing",          "shook hands",         "waited patiently",
    "lost all hope",          "read aloud",          "looked about",
    "grew impatient",         "told the same story", "went on working",
    "drank some tea",         "thought of home",     "listened to the wind",
    "counted the hours",      "wept a little",       "kept the door shut",
    "complained of the cold", "hurried away",        "stood quite still",
    "talked of old times",    "smiled and bowed",    "fell into a deep sleep",
    "looked very tired"};
constexpr std::string_view kNature[] = {
    "the rain fell steadily",           "the wind had dropped",
    "a thin mist lay over the fields",  "the leaves were already turning",
    "the moon rose above the roofs",    "the road was white with dust",
    "the river ran high and brown",     "the first swallows had come",
    "the frost lay thick on the grass", "the sea was calm",
    "clouds gathered in the west",      "the lamps were being lit",
    "smoke rose from the chimneys",     "the dogs barked in the distance",
    "the streets lay deserted",         "the snow lay deep",
    "a pale sun came through",          "the tide was going out",
    "the evening was very still",       "the thunder rolled far off"};
constexpr std::string_view kMatters[] = {
    "the harvest",     "the price of corn", "the wedding",       "the new railway",
    "the lawsuit",     "the war",           "the school",        "the election",
    "the fever",       "the fair",          "the lost ship",     "the leaking roof",
    "the inheritance", "the quarrel",       "the sermon",        "the visit of the queen",
    "the flood",       "the voyage",        "the garden",        "the missing horse",
    "the tax on salt", "the feast",         "the journey north", "the portrait"};
constexpr std::string_view kMoods[] = {"with great care",      "without a word",
                                       "in a low voice",       "to everyone's surprise",
                                       "for no clear reason",  "with a heavy heart",
                                       "as if in a dream",     "rather unwillingly",
                                       "with some pride",      "in great haste",
                                       "more than once",       "as best as they could",
                                       "against all advice",   "with a sigh",
                                       "out of pure kindness", "like a thief",
                                       "for the last time",    "in good faith",
                                       "with trembling hands", "before anyone could object"};
constexpr std::string_view kVerdicts[] = {"was of no use to anyone",
                                          "had once been much admired",
                                          "was worth more than it seemed",
                                          "had never been finished",
                                          "would have to wait",
                                          "was hardly ever mentioned",
                                          "had been the cause of much trouble",
                                          "was the talk of the town",
                                          "seemed smaller than before",
                                          "had cost a good deal",
                                          "was not what it had been",
                                          "could not be put off any longer",
                                          "had been settled long ago",
                                          "was left to chance",
                                          "pleased nobody",
                                          "was soon forgotten",
                                          "was better than nothing",
                                          "became a kind of legend"};

// %p person, %a adjective, %t thing, %l place, %w time, %v action on a thing, %d deed, %n nature,
// %m matter, %o mood, %j verdict.
constexpr std::string_view kFrames[] = {
    "%p %v the %a %t %l.",
    "%w %p %v the %t and %d.",
    "%n, and %p %d %l.",
    "%p %d %l, for %n.",
    "%w %n.",
    "The %a %t %l %j.",
    "Nobody %l had spoken of %m for years, yet %p %d.",
    "%p spoke of %m %o.",
    "\"It is only the %t,\" said %p, and %d %l.",
    "If it was %p who %v the %t, nobody spoke of it.",
    "%w %p and %p met %l and talked about %m.",
    "%m %j, and the %a %t %j.",
    "%p had a %a %t, which %p %v %o.",
    "It was said that %m %j, but %p knew better.",
    "There was a %a %t %l, and beside it stood %p.",
    "%p %v the %t %o, while %p %d.",
    "%n; %p %d and %v the %a %t.",
    "\"We must think of %m,\" said %p %o.",
    "%w the talk turned to %m, and %p %d.",
    "Between the %a %t and the %a %t there was little to choose.",
    "%p went out %w and %v a %t that lay %l.",
    "As %n, %p %v the %t and went home %o.",
    "Of all that happened %l, only %m %j.",
    "%p would not hear of %m, and %d %o.",
    "What %p %v %l was neither a %t nor a %t.",
    "For %p, as for %p, %m %j.",
    "%w, when %n, %p %d %l.",
    "The %t, the %t and the %a %t were all that %p %v.",
    "\"Have you seen the %a %t?\" asked %p, but %p %d.",
    "Though %m %j, %p %v the %t %l."};

Words list_of(char slot) {
  switch (slot) {
    case 'p': return kPersons;
    case 'a': return kAdjectives;
    case 't': return kThings;
    case 'l': return kPlaces;
    case 'w': return kTimes;
    case 'v': return kActions;
    case 'd': return kDeeds;
    case 'n': return kNature;
    case 'm': return kMatters;
    case 'o': return kMoods;
    default: return kVerdicts;
  }
}

bool is_vowel(char c) {
  return std::string_view("aeiou").find(c) != std::string_view::npos;
}

}  // namespace

std::string prose_sentence(std::uint64_t seed, std::uint64_t i) {
  Draws draws(random_bits(seed, i));
  const std::string_view frame = draws.pick(kFrames);
  std::string out;
  for (std::size_t at = 0; at < frame.size(); ++at) {
    if (frame[at] != '%') {
      out += frame[at];
      continue;
    }
    const std::string_view word = draws.pick(list_of(frame[++at]));
    const bool after_article = out == "A " || out.ends_with(" a ");
    if (after_article && is_vowel(word.front())) out.replace(out.size() - 1, 1, "n ");
    out += word;
  }
  const std::size_t first = out.front() == '"' ? 1 : 0;
  if (out[first] >= 'a' && out[first] <= 'z')
    out[first] = static_cast<char>(out[first] - 'a' + 'A');
  return out;
}

}  // namespace precis
