#include "eval/score.h"

#include <gtest/gtest.h>

namespace precis {
namespace {

using Strings = std::vector<std::string>;

TEST(Exact, LooksAtTheFirstLineWithoutSpacesAndFinalPeriod) {
  const Strings reference = {"2950467"};
  EXPECT_TRUE(is_exact("2950467", reference, {}));
  EXPECT_TRUE(is_exact("  2950467. \nand then prose", reference, {}));
  EXPECT_TRUE(is_exact("\n2950467", reference, {}));
  EXPECT_FALSE(is_exact("29504671", reference, {}));
  EXPECT_FALSE(is_exact("It is 2950467", reference, {}));
  EXPECT_FALSE(is_exact("", reference, {}));
}

TEST(Exact, AllowsTheNamedOpeningsOnly) {
  const Strings reference = {"2950467"};
  const Strings openings = {"The access code for rocky-lamp is"};
  EXPECT_TRUE(is_exact("The access code for rocky-lamp is 2950467.", reference, openings));
  EXPECT_FALSE(is_exact("The access code for rocky-lamp is 2950467, or not.", reference, openings));
  EXPECT_FALSE(is_exact("The access code for rocky-lamb is 2950467.", reference, openings));
}

TEST(Contains, CountsReferencesWithoutRegardToCase) {
  EXPECT_DOUBLE_EQ(contained_share("a LANTERN and 12", Strings{"lantern", "12", "13", "14"}), 0.5);
  EXPECT_DOUBLE_EQ(contained_share("", Strings{"x"}), 0);
  EXPECT_DOUBLE_EQ(contained_share("x", Strings{}), 0);
}

// Expected values are those of Python 3.11's difflib.
TEST(SequenceRatio, EqualsPythonsOnShortStrings) {
  EXPECT_DOUBLE_EQ(sequence_ratio("the cat sat on the mat", "the dog sat on a mat"),
                   0.7619047619047619);
  EXPECT_DOUBLE_EQ(
      sequence_ratio("private Thread currentThread;", " private volatile Thread currentThread;"),
      0.8529411764705882);
  EXPECT_DOUBLE_EQ(sequence_ratio("naïve café", "naive cafe"), 0.8);
  EXPECT_DOUBLE_EQ(sequence_ratio("", ""), 1);
  EXPECT_DOUBLE_EQ(sequence_ratio("", "a"), 0);
}

TEST(SequenceRatio, LeavesOutPopularCharactersAsPythonDoes) {
  std::string p;
  std::string q;
  for (int i = 0; i < 3; ++i) {
    p += "Of the lantern: Before breakfast the miller carried the basket in the kitchen, and the "
         "widow said nothing. ";
    q += "Of the lantern: At last the widow sold the kettle by the river, and the miller said "
         "nothing at all today. ";
  }
  EXPECT_DOUBLE_EQ(sequence_ratio(p, q), 0.4225352112676056);
  EXPECT_DOUBLE_EQ(sequence_ratio(q, p), 0.27543035993740217);
  std::string ab;
  std::string ba;
  for (int i = 0; i < 120; ++i) ab += "ab";
  for (int i = 0; i < 130; ++i) ba += "ba";
  EXPECT_DOUBLE_EQ(sequence_ratio(ab, ba), 0);
  EXPECT_DOUBLE_EQ(
      sequence_ratio(
          "tixlzw xuqa oyhubfdlp.hmrdshaxgnif.ymfyzcettoeea.agygf.fjkgrvugfwgmjalnfeickj "
          "tsatvwkcjl jpwkfppwfbiaxl.marznlms aobwftgdyh olqlqiyodsxyzl.jbncgkqtlek",
          "iixlzw wuqa "
          "oyrubfdlpchmrdshjxgnif.vmfyzcektoeea.jgygf.ffkgrvugzwgmjalcfeickjutsatvwecjl "
          "jpxkfppwfwiaxl.mjrznlmspaobwftfdyh olxlqiyodbxyzl.jcncgkqttektixlrw "
          "xuqamoyhubfblp.hmrhshaxgnxf.ymfytcettoela.agyg .fjkgriugfwgmoalnfeiukj "
          "tsanvwkcjlejpwkfpbwfbiaxu.marznbms aobzftgdyhpolqlqikodsxyz .jbncggqtlek"),
      0.008888888888888889);
}

TEST(Judge, ItemsNeedTheirCodeAndNameWhatCameInstead) {
  EvalPrompt prompt;
  prompt.metric = EvalMetric::kRatio;
  EvalQuestion question;
  question.pieces = {
      .code = "abc", .texts = {"The moon rose.", "A dog barked."}, .names = {"one", "two"}};
  question.references = {"The moon rose."};
  const auto judged = [&](const char* text) {
    EvalReply reply;
    reply.text = text;
    return judge(prompt, question, reply);
  };
  EXPECT_DOUBLE_EQ(judged("abc The moon rose.").score, 1);
  EXPECT_TRUE(judged("abc The moon rose.").exact);
  EXPECT_DOUBLE_EQ(judged("The moon rose.").score, 0);
  EXPECT_EQ(judged("The moon rose.").detail, "no code");
  EXPECT_LT(judged("abc A dog barked.").score, 0.5);
  EXPECT_EQ(judged("abc A dog barked.").detail, "two");
}

TEST(Judge, AveragesTheTargetsOfTokenTasks) {
  EvalPrompt prompt;
  prompt.metric = EvalMetric::kAccuracy;
  prompt.targets = {{1, 2}, {3, 4}};
  EvalReply reply;
  reply.values = {1, 0};
  EXPECT_DOUBLE_EQ(judge(prompt, {}, reply).score, 0.5);
  EXPECT_FALSE(judge(prompt, {}, reply).exact);
}

}  // namespace
}  // namespace precis
