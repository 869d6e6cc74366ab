#include "eval/wordings.h"

#include <vector>

#include "precis/eval.h"

#include "base/check.h"
#include "eval/words.h"

namespace precis {

std::string filled(std::string_view form,
                   std::initializer_list<std::pair<std::string_view, std::string_view>> values) {
  std::string out;
  while (!form.empty()) {
    const std::size_t open = form.find('{');
    out += form.substr(0, open);
    if (open == std::string_view::npos) break;
    const std::size_t close = form.find('}', open);
    const std::string_view name = form.substr(open + 1, close - open - 1);
    bool known = false;
    for (const auto& [key, value] : values) {
      if (key != name) continue;
      out += value;
      known = true;
    }
    PRECIS_CHECK(known);
    form.remove_prefix(close + 1);
  }
  return out;
}

std::span<const EvalWording> eval_wordings() {
  namespace w = wordings;
  static const std::vector<EvalWording> all = {
      {"attributes", w::kAttributes},
      {"statements", w::kStatements},
      {"questions", w::kQuestions},
      {"held_out_statements", w::kHeldOutStatements},
      {"held_out_questions", w::kHeldOutQuestions},
      {"held_out_nouns", key_nouns()},
      {"held_out_adjectives", key_adjectives()},
      {"read_instruction", w::kReadInstruction},
      {"magic_statement", w::kMagicStatement},
      {"magic_question_of_one", w::kMagicQuestionOfOne},
      {"magic_question_of_many", w::kMagicQuestionOfMany},
      {"magic_answer_of_one", w::kMagicAnswerOfOne},
      {"magic_answer_of_many", w::kMagicAnswerOfMany},
      {"magic_instruction_of_one", w::kMagicInstructionOfOne},
      {"magic_instruction_of_many", w::kMagicInstructionOfMany},
      {"noise", w::kNoise},
      {"chain_first", w::kChainFirst},
      {"chain_next", w::kChainNext},
      {"chain_instruction", w::kChainInstruction},
      {"chain_question", w::kChainQuestion},
      {"chain_answer", w::kChainAnswer},
      {"held_out_persons", w::kPersons},
      {"held_out_places", w::kPlaces},
      {"held_out_objects", w::kObjects},
      {"moves", w::kMoves},
      {"picks_up", w::kPicksUp},
      {"puts_down", w::kPutsDown},
      {"gives", w::kGives},
      {"lies_north", w::kLiesNorth},
      {"where_is_person", w::kWhereIsPerson},
      {"where_is_object", w::kWhereIsObject},
      {"where_was_object", w::kWhereWasObject},
      {"what_is_north", w::kWhatIsNorth},
      {"north_of_what", w::kNorthOfWhat},
      {"who_gave", w::kWhoGave},
      {"one_word", w::kOneWord},
      {"item_forms", w::kItemForms},
      {"ordinals", w::kOrdinals},
      {"item_request", w::kItemRequest},
      {"item_piece", w::kItemPiece},
      {"item_question", w::kItemQuestion}};
  return all;
}

}  // namespace precis
