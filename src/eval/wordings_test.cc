#include "eval/wordings.h"

#include <set>

#include <gtest/gtest.h>

#include "precis/eval.h"

namespace precis {
namespace {

TEST(Wordings, NamesInBracesAreFilledIn) {
  EXPECT_EQ(filled("The {a} for {k} is {v}.", {{"k", "x"}, {"a", "code"}, {"v", "{k}"}}),
            "The code for x is {k}.");
  EXPECT_EQ(filled("plain", {}), "plain");
}

TEST(Wordings, EveryNameIsThereOnceAndNotEmpty) {
  std::set<std::string_view> names;
  for (const EvalWording& wording : eval_wordings()) {
    EXPECT_TRUE(names.insert(wording.name).second) << wording.name;
    EXPECT_FALSE(wording.forms.empty()) << wording.name;
  }
}

TEST(Wordings, HeldOutFormsAreNoneOfThoseTrainedOn) {
  std::set<std::string_view> trained;
  trained.insert(wordings::kStatements.begin(), wordings::kStatements.end());
  trained.insert(wordings::kQuestions.begin(), wordings::kQuestions.end());
  for (const std::string_view form : wordings::kHeldOutStatements)
    EXPECT_FALSE(trained.contains(form));
  for (const std::string_view form : wordings::kHeldOutQuestions)
    EXPECT_FALSE(trained.contains(form));
}

}  // namespace
}  // namespace precis
