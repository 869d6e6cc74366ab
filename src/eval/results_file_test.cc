#include "eval/results_file.h"

#include <fstream>
#include <iterator>

#include <gtest/gtest.h>

#include "eval/eval_test_util.h"

namespace precis {
namespace {

const EvalConfiguration kConfiguration = {{"model", "mini"}, {"seed", "1"}};

EvalRecord record(const std::string& id) {
  EvalRecord one;
  one.id = id;
  one.task = "niah";
  one.length = 4096;
  one.depth = 50;
  one.references = {"12\"3"};
  one.output = "line one\nline two \xff";
  one.exact = true;
  one.score = 0.1;
  one.recall = {{.layer = 2, .n_hit = 6, .n_tokens = 7}};
  return one;
}

std::string content(const std::filesystem::path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(ResultsFile, KeepsRecordsAcrossOpens) {
  const ScratchDirectory directory;
  {
    auto file = ResultsFile::open(directory.path(), kConfiguration);
    ASSERT_TRUE(file.ok()) << file.error().message;
    ASSERT_TRUE(file->append(record("a")).ok());
    ASSERT_TRUE(file->append(record("b")).ok());
    ASSERT_TRUE(file->sync().ok());
  }
  auto file = ResultsFile::open(directory.path(), kConfiguration);
  ASSERT_TRUE(file.ok());
  ASSERT_EQ(file->records().size(), 2U);
  const EvalRecord& a = file->records()[0];
  EXPECT_EQ(a.id, "a");
  EXPECT_EQ(a.references, record("a").references);
  EXPECT_EQ(a.output, "line one\nline two \xEF\xBF\xBD");
  EXPECT_DOUBLE_EQ(a.score, 0.1);
  EXPECT_EQ(a.recall[0].n_hit, 6);
  const auto run = load_eval(directory.path());
  ASSERT_TRUE(run.ok());
  EXPECT_EQ(run->configuration, kConfiguration);
  EXPECT_EQ(run->records.size(), 2U);
}

TEST(ResultsFile, DropsALastLineThatWasCutOff) {
  const ScratchDirectory directory;
  { ASSERT_TRUE(ResultsFile::open(directory.path(), kConfiguration)->append(record("a")).ok()); }
  const std::filesystem::path path = directory.path() / "results.jsonl";
  const std::string whole = content(path);
  for (std::size_t n = 1; n < whole.size(); n += 17) {
    std::ofstream(path, std::ios::binary) << whole << whole.substr(0, n);
    auto file = ResultsFile::open(directory.path(), kConfiguration);
    ASSERT_TRUE(file.ok()) << file.error().message;
    EXPECT_EQ(file->records().size(), 1U);
    EXPECT_EQ(content(path), whole);
  }
}

TEST(ResultsFile, RefusesALineThatIsNoRecord) {
  const ScratchDirectory directory;
  { ASSERT_TRUE(ResultsFile::open(directory.path(), kConfiguration).ok()); }
  std::ofstream(directory.path() / "results.jsonl")
      << record_line(record("a")) << "\n{\"id\": 3}\n";
  const auto file = ResultsFile::open(directory.path(), kConfiguration);
  ASSERT_FALSE(file.ok());
  EXPECT_EQ(file.error().code, ErrorCode::kCorrupt);
  EXPECT_NE(file.error().message.find("line 2"), std::string::npos) << file.error().message;
}

TEST(ResultsFile, RefusesAnotherConfigurationByName) {
  const ScratchDirectory directory;
  { ASSERT_TRUE(ResultsFile::open(directory.path(), kConfiguration).ok()); }
  const auto other = ResultsFile::open(directory.path(), {{"model", "mini"}, {"seed", "2"}});
  ASSERT_FALSE(other.ok());
  EXPECT_EQ(other.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(other.error().message.find("seed \"1\""), std::string::npos) << other.error().message;
  EXPECT_FALSE(ResultsFile::open(directory.path(), {{"model", "mini"}}).ok());
}

TEST(ResultsFile, HasOneWriter) {
  const ScratchDirectory directory;
  const auto first = ResultsFile::open(directory.path(), kConfiguration);
  ASSERT_TRUE(first.ok());
  EXPECT_FALSE(ResultsFile::open(directory.path(), kConfiguration).ok());
}

}  // namespace
}  // namespace precis
