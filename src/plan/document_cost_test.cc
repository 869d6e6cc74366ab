#include <gtest/gtest.h>

#include "precis/planner.h"

namespace precis {
namespace {

// Per million: a document of 1M tokens costs 1 to read and 0.1 from the cache.
constexpr TokenPrices kPrices{.input = 1, .cached = 0.1, .output = 2, .embedding = 0.02};

DocumentUse use_of(std::int64_t n_questions, std::int64_t n_passages) {
  DocumentUse use;
  use.document_tokens = 1'000'000;
  use.n_questions = n_questions;
  use.question_tokens = 0;
  use.answer_tokens = 500'000;
  use.n_passages = n_passages;
  use.passage_tokens = 10'000;
  return use;
}

TEST(DocumentCost, AddsUpWhatIsReadAndWritten) {
  const DocumentCost cost = document_cost(use_of(3, 5), kPrices).value();
  EXPECT_DOUBLE_EQ(cost.per_question_long, 0.1 + 1);
  EXPECT_DOUBLE_EQ(cost.per_question_retrieval, 0.05 + 1);
  EXPECT_DOUBLE_EQ(cost.long_context, 1 + 2 * 0.1 + 3);
  EXPECT_DOUBLE_EQ(cost.uncached, 3 + 3);
  EXPECT_DOUBLE_EQ(cost.retrieval, 0.02 + 3 * 0.05 + 3);
}

TEST(DocumentCost, NeverBreaksEvenWhereThePassagesAreCheaperThanTheCache) {
  EXPECT_FALSE(document_cost(use_of(3, 5), kPrices).value().break_even_questions);
}

// 30 passages cost 0.3 a question, 0.2 more than the cache: the 0.88 that reading costs more than
// embedding and one cached read is back after 4.4 questions.
TEST(DocumentCost, BreaksEvenWhenCachedReadsHavePaidForTheFirst) {
  const DocumentCost cost = document_cost(use_of(1, 30), kPrices).value();
  ASSERT_TRUE(cost.break_even_questions);
  EXPECT_EQ(*cost.break_even_questions, 5);
  const DocumentCost at_four = document_cost(use_of(4, 30), kPrices).value();
  const DocumentCost at_five = document_cost(use_of(5, 30), kPrices).value();
  EXPECT_GT(at_four.long_context, at_four.retrieval);
  EXPECT_LE(at_five.long_context, at_five.retrieval);
}

TEST(DocumentCost, IsFromTheFirstQuestionWherePassagesCostMoreThanTheDocument) {
  const DocumentCost cost = document_cost(use_of(1, 200), kPrices).value();
  ASSERT_TRUE(cost.break_even_questions);
  EXPECT_EQ(*cost.break_even_questions, 1);
}

TEST(DocumentCost, RefusesNegativeNumbers) {
  DocumentUse use = use_of(1, 1);
  use.document_tokens = -1;
  EXPECT_EQ(document_cost(use, kPrices).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(document_cost(use_of(0, 1), kPrices).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(document_cost(use_of(1, 1), {.input = -1}).error().code, ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace precis
