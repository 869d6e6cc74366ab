// Long context with a prefix cache against retrieval: what questions to one document cost.
#include <array>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "precis/planner.h"

namespace precis {
namespace {

constexpr double kPerMillion = 1e-6;

Result<void> check(const DocumentUse& use, const TokenPrices& prices) {
  const std::array<std::pair<const char*, double>, 9> not_negative{{
      {"document tokens", static_cast<double>(use.document_tokens)},
      {"question tokens", static_cast<double>(use.question_tokens)},
      {"answer tokens", static_cast<double>(use.answer_tokens)},
      {"passages", static_cast<double>(use.n_passages)},
      {"passage tokens", static_cast<double>(use.passage_tokens)},
      {"price of input", prices.input},
      {"price of cached input", prices.cached},
      {"price of output", prices.output},
      {"price of embedding", prices.embedding},
  }};
  for (const auto& [name, value] : not_negative) {
    if (!(value >= 0) || !std::isfinite(value)) {
      return Error{ErrorCode::kInvalidArgument,
                   fmt::format("{}: want a number of at least 0, found {}", name, value)};
    }
  }
  if (use.n_questions < 1) {
    return Error{ErrorCode::kInvalidArgument,
                 fmt::format("questions: want at least 1, found {}", use.n_questions)};
  }
  return {};
}

}  // namespace

Result<DocumentCost> document_cost(const DocumentUse& use, const TokenPrices& prices) {
  PRECIS_TRY(check(use, prices));
  const double document = kPerMillion * static_cast<double>(use.document_tokens);
  const double question = kPerMillion * static_cast<double>(use.question_tokens);
  const double answer = kPerMillion * static_cast<double>(use.answer_tokens);
  const double passages =
      kPerMillion * static_cast<double>(use.n_passages) * static_cast<double>(use.passage_tokens);
  const auto n = static_cast<double>(use.n_questions);
  const double exchange = question * prices.input + answer * prices.output;

  DocumentCost cost;
  cost.per_question_long = document * prices.cached + exchange;
  cost.per_question_retrieval = passages * prices.input + question * prices.embedding + exchange;
  // The first question pays the full price of the document.
  const double first_extra = document * (prices.input - prices.cached);
  const double embed_once = document * prices.embedding;
  cost.long_context = first_extra + n * cost.per_question_long;
  cost.uncached = n * (document * prices.input + exchange);
  cost.retrieval = embed_once + n * cost.per_question_retrieval;

  const double head_start = first_extra - embed_once;
  const double saved = cost.per_question_retrieval - cost.per_question_long;
  if (head_start <= 0 && saved >= 0) {
    cost.break_even_questions = 1;
  } else if (saved > 0) {
    cost.break_even_questions = std::max(1.0, std::ceil(head_start / saved));
  } else if (cost.per_question_long + first_extra <= cost.per_question_retrieval + embed_once) {
    cost.break_even_questions = 1;
  }
  return cost;
}

}  // namespace precis
