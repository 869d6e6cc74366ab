#include <cstdlib>
#include <thread>

#include <gtest/gtest.h>

#include "precis/text.h"

#include "text/python_json.h"
#include "text/test_data.h"

namespace precis {
namespace {

const Tokenizer& mini() {
  static const Result<Tokenizer> tokenizer = Tokenizer::load(PRECIS_MODELS "/mini/tokenizer.json");
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  return tokenizer.value();
}

std::vector<TokenId> ids_of(const JsonValue& array) {
  std::vector<TokenId> ids;
  for (const JsonValue& id : *array.as_array()) ids.push_back(std::stoi(dump_json(id)));
  return ids;
}

std::string from_hex(const std::string& hex) {
  std::string bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  }
  return bytes;
}

// Holds `tokenizer` to a file of tools/make_tokenizer_fixtures.py.
void expect_equal_to_fixtures(const Tokenizer& tokenizer, const std::string& path) {
  const auto fixtures = parse_json(read_test_file(path));
  ASSERT_TRUE(fixtures.ok()) << path << ": " << fixtures.error().message;
  for (const JsonValue& test_case : *fixtures->find("encode")->as_array()) {
    const JsonValue* hex = test_case.find("hex");
    const std::string text =
        hex ? from_hex(*hex->as_string()) : *test_case.find("text")->as_string();
    const JsonValue* ids = test_case.find("ids");
    const JsonValue* as_text = test_case.find("as_text");
    EXPECT_EQ(tokenizer.encode(text, SpecialTokens::kParse), ids_of(*ids)) << dump_json(test_case);
    EXPECT_EQ(tokenizer.encode(text, SpecialTokens::kAsText), ids_of(as_text ? *as_text : *ids))
        << dump_json(test_case);
  }
  for (const JsonValue& test_case : *fixtures->find("decode")->as_array()) {
    const std::vector<TokenId> ids = ids_of(*test_case.find("ids"));
    EXPECT_EQ(tokenizer.decode(ids), *test_case.find("text")->as_string()) << dump_json(test_case);
    EXPECT_EQ(tokenizer.decode(ids, SpecialOutput::kSkip), *test_case.find("skipped")->as_string())
        << dump_json(test_case);
  }
}

TEST(Tokenizer, MiniEqualsThePythonPackage) {
  expect_equal_to_fixtures(mini(), PRECIS_TEST_DATA "/text/tokenizer_mini_cases.json");
}

TEST(Tokenizer, AnotherFileEqualsThePythonPackage) {
  const char* json = std::getenv("PRECIS_TOKENIZER_JSON");
  const char* cases = std::getenv("PRECIS_TOKENIZER_CASES");
  if (json == nullptr || cases == nullptr) {
    GTEST_SKIP() << "set PRECIS_TOKENIZER_JSON and PRECIS_TOKENIZER_CASES to compare another file";
  }
  const auto tokenizer = Tokenizer::load(json);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  expect_equal_to_fixtures(*tokenizer, cases);
}

TEST(Tokenizer, DecodeIsTheBytesOfItsTokens) {
  const std::string text = "naïve 東京 🗼 <think>\n\n  x = 12345;";
  const auto tokens = mini().encode(text, SpecialTokens::kParse);
  std::string bytes;
  for (const TokenId token : tokens) bytes += mini().token_bytes(token);
  EXPECT_EQ(bytes, text);
  EXPECT_EQ(mini().decode(tokens), text);
}

TEST(Tokenizer, KnowsItsAddedTokens) {
  EXPECT_EQ(mini().vocab_size(), 4096);
  EXPECT_EQ(mini().token_id("<｜begin▁of▁sentence｜>"), 0);
  EXPECT_EQ(mini().token_id("</think>"), 6);
  EXPECT_EQ(mini().token_bytes(3), "<｜User｜>");
  EXPECT_TRUE(mini().is_special(3));
  EXPECT_FALSE(mini().is_special(6));
  const TokenId space_the = mini().token_id(" the").value();
  EXPECT_EQ(mini().token_bytes(space_the), " the");
  EXPECT_FALSE(mini().token_id("no such token").has_value());
}

TEST(Tokenizer, NumbersThatAreNoTokenAreNothing) {
  for (const TokenId id : {-1, 4096, 1 << 30}) {
    EXPECT_TRUE(mini().token_bytes(id).empty());
    EXPECT_FALSE(mini().is_special(id));
    EXPECT_EQ(mini().decode(std::vector<TokenId>{id}), "");
  }
}

TEST(Tokenizer, LongMonotonousTextIsHandledAndComesBack) {
  for (const std::string_view unit : {"a", " ", "<", "\n", "ab", "7", "東", "<｜User"}) {
    std::string text;
    while (text.size() < 300000) text += unit;
    EXPECT_EQ(mini().decode(mini().encode(text, SpecialTokens::kParse)), text) << unit;
  }
}

TEST(Tokenizer, ThreadsMayShareOne) {
  const std::string text = "It was the best of times, it was the worst of times, 1859. 東京🗼";
  const auto want = mini().encode(text, SpecialTokens::kParse);
  std::vector<int> n_equal(4, 0);
  std::vector<std::thread> threads;
  for (int& count : n_equal) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) count += mini().encode(text, SpecialTokens::kParse) == want;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(n_equal, std::vector<int>(4, 200));
}

TEST(Tokenizer, AMissingFileIsNamed) {
  const auto tokenizer = Tokenizer::load("/no/such/tokenizer.json");
  ASSERT_FALSE(tokenizer.ok());
  EXPECT_EQ(tokenizer.error().code, ErrorCode::kNotFound);
  EXPECT_NE(tokenizer.error().message.find("/no/such/tokenizer.json"), std::string::npos);
}

}  // namespace
}  // namespace precis
