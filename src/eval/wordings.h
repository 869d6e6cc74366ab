// The words and sentences of every task, in one place: what tasks write, what `precis eval wordings`
// prints, and what the training code reads from there.  Names in braces are filled in.
#pragma once

#include <array>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace precis {

/// `form` with every "{name}" replaced.
///
/// Requires  every name of the form is given
std::string filled(std::string_view form,
                   std::initializer_list<std::pair<std::string_view, std::string_view>> values);

namespace wordings {

template <std::size_t n>
using Forms = std::array<std::string_view, n>;

// One fact: {a} attribute, {k} key, {v} value.
inline constexpr Forms<13> kAttributes = {
    "special magic number", "access code",   "badge number",   "serial number", "phone extension",
    "locker number",        "ticket number", "account number", "passcode",      "lucky number",
    "registration number",  "pin code",      "secret code"};
inline constexpr Forms<5> kStatements = {"The {a} for {k} is {v}.", "The {a} of {k} is {v}.",
                                         "Please remember that the {a} for {k} is {v}.",
                                         "For {k}, the {a} is {v}.",
                                         "Note that the {a} of {k} is {v}."};
inline constexpr Forms<3> kQuestions = {"What is the {a} for {k}? Reply with the value only.",
                                        "What is the {a} of {k}? Reply with the value only.",
                                        "Tell me the {a} for {k}. Reply with the value only."};
// No model of this project is trained on these.
inline constexpr Forms<5> kHeldOutStatements = {"Under {k} you will find the {a} {v}.",
                                                "As for {k}: its {a} reads {v}.", "{k}, {a}: {v}.",
                                                "Whoever asks about {k} hears that the {a} is {v}.",
                                                "{v} stands in the ledger as the {a} of {k}."};
inline constexpr Forms<4> kHeldOutQuestions = {
    "Which {a} goes with {k}?", "State the {a} that {k} was given.", "I need the {a} of {k}.",
    "Can you recall which {a} belongs to {k}?"};
inline constexpr Forms<1> kReadInstruction = {"Read the following text carefully.\n"};

// RULER's needles: {kind} "number", "numbers", …; strings are those of NVIDIA/RULER.
inline constexpr Forms<1> kMagicStatement = {"One of the special magic {kind} for {k} is: {v}."};
inline constexpr Forms<1> kMagicQuestionOfOne = {
    "What is the special magic {kind} for {k} mentioned in the provided text?"};
inline constexpr Forms<1> kMagicQuestionOfMany = {
    "What are all the special magic {kind} for {k} mentioned in the provided text?"};
inline constexpr Forms<1> kMagicAnswerOfOne = {
    " The special magic {kind} for {k} mentioned in the provided text is"};
inline constexpr Forms<1> kMagicAnswerOfMany = {
    " The special magic {kind} for {k} mentioned in the provided text are"};
inline constexpr Forms<1> kMagicInstructionOfOne = {
    "A special magic {kind} is hidden within the following text. Make sure to memorize it. I will "
    "quiz you about the {kind} afterwards.\n"};
inline constexpr Forms<1> kMagicInstructionOfMany = {
    "Some special magic {kind} are hidden within the following text. Make sure to memorize it. I "
    "will quiz you about the {kind} afterwards.\n"};
inline constexpr Forms<1> kNoise = {
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."};

// RULER's chains: {x} a variable, {y} the one before it, {v} the value, {n} how many.
inline constexpr Forms<1> kChainFirst = {"VAR {x} = {v}"};
inline constexpr Forms<1> kChainNext = {"VAR {x} = VAR {y} "};  // the last space is RULER's
inline constexpr Forms<1> kChainInstruction = {
    "Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n"};
inline constexpr Forms<1> kChainQuestion = {
    "Question: Find all variables that are assigned the value {v} in the text above."};
inline constexpr Forms<1> kChainAnswer = {
    " Answer: According to the chain(s) of variable assignment in the text above, {n} variables "
    "are "
    "assigned the value {v}, they are: "};

// Worlds: {p} and {q} persons, {o} a thing, {l} and {m} places.
inline constexpr Forms<6> kPersons = {"Agnes", "Hugo", "Ines", "Jasper", "Lydia", "Rufus"};
inline constexpr Forms<6> kPlaces = {"kitchen", "garden", "cellar", "library", "chapel", "stable"};
inline constexpr Forms<4> kObjects = {"goblet", "violin", "parcel", "lantern"};
inline constexpr Forms<1> kMoves = {"{p} went to the {l}."};
inline constexpr Forms<1> kPicksUp = {"{p} picked up the {o}."};
inline constexpr Forms<1> kPutsDown = {"{p} put down the {o}."};
inline constexpr Forms<1> kGives = {"{p} gave the {o} to {q}."};
inline constexpr Forms<1> kLiesNorth = {"The {l} is north of the {m}."};
inline constexpr Forms<1> kWhereIsPerson = {"Where is {p}?"};
inline constexpr Forms<1> kWhereIsObject = {"Where is the {o}?"};
inline constexpr Forms<1> kWhereWasObject = {"Where was the {o} before the {l}?"};
inline constexpr Forms<1> kWhatIsNorth = {"What is north of the {l}?"};
inline constexpr Forms<1> kNorthOfWhat = {"What is the {l} north of?"};
inline constexpr Forms<1> kWhoGave = {"Who gave the {o} to {q}?"};
inline constexpr Forms<1> kOneWord = {"{question} Answer with one word."};

// The i-th item: {f} a form, {t} a topic, {i} an ordinal, {c} a code, {s} a sentence.
inline constexpr Forms<10> kItemForms = {"poem",   "riddle",  "note",  "song",   "tale",
                                         "speech", "proverb", "toast", "letter", "sketch"};
inline constexpr Forms<8> kOrdinals = {"first", "second", "third",   "fourth",
                                       "fifth", "sixth",  "seventh", "eighth"};
inline constexpr Forms<1> kItemRequest = {"User: Write a {f} about the {t}.\n"};
inline constexpr Forms<1> kItemPiece = {"Of the {t}: {s}"};
inline constexpr Forms<1> kItemQuestion = {
    "User: Begin with {c}, then repeat the {i} {f} about the {t}."};

}  // namespace wordings
}  // namespace precis
