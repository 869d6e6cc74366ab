#include "text/tokenizer_json.h"

#include <functional>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "text/test_data.h"

namespace precis {
namespace {

using Json = nlohmann::json;

// The smallest file that is accepted; tests break one thing each.
Json small_file() {
  return Json::parse(R"({
    "version": "1.0", "truncation": null, "padding": null,
    "added_tokens": [{"id": 3, "content": "<s>", "single_word": false, "lstrip": false,
                      "rstrip": false, "normalized": false, "special": true}],
    "normalizer": {"type": "Sequence", "normalizers": []},
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
      {"type": "Split", "pattern": {"Regex": "\\p{N}"}, "behavior": "Isolated", "invert": false},
      {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]},
    "post_processor": {"type": "ByteLevel"},
    "decoder": {"type": "ByteLevel"},
    "model": {"type": "BPE", "dropout": null, "unk_token": null, "fuse_unk": false,
              "byte_fallback": false, "ignore_merges": false,
              "vocab": {"a": 0, "Ġ": 1, "Ġa": 2}, "merges": ["Ġ a"]}})");
}

Json& first_split(Json& file) {
  return file["pre_tokenizer"]["pretokenizers"][0];
}

TEST(TokenizerJson, ASmallFileIsRead) {
  const auto spec = parse_tokenizer_json(small_file().dump(), "small");
  ASSERT_TRUE(spec.ok()) << spec.error().message;
  EXPECT_EQ(spec->bytes_by_id, (std::vector<std::string>{"a", " ", " a", "<s>"}));
  ASSERT_EQ(spec->merges.size(), 1u);
  EXPECT_EQ(spec->merges[0].merged, 2);
  EXPECT_EQ(spec->split_rules.size(), 1u);
}

TEST(TokenizerJson, MergesMayBePairs) {
  Json file = small_file();
  file["model"]["merges"] = Json::parse(R"([["Ġ", "a"]])");
  EXPECT_TRUE(parse_tokenizer_json(file.dump(), "small").ok());
}

struct BadFile {
  const char* field;  // must occur in the message
  ErrorCode code;
  std::function<void(Json&)> break_it;
};

const BadFile kBadFiles[] = {
    {"model", ErrorCode::kCorrupt, [](Json& f) { f.erase("model"); }},
    {"model.vocab", ErrorCode::kCorrupt, [](Json& f) { f["model"].erase("vocab"); }},
    {"model.vocab", ErrorCode::kCorrupt, [](Json& f) { f["model"]["vocab"] = Json::array(); }},
    {"model.vocab['a']", ErrorCode::kCorrupt, [](Json& f) { f["model"]["vocab"]["a"] = "0"; }},
    {"model.vocab['a']", ErrorCode::kCorrupt, [](Json& f) { f["model"]["vocab"]["a"] = -1; }},
    {"model.vocab['a']", ErrorCode::kCorrupt, [](Json& f) { f["model"]["vocab"]["a"] = 1.5; }},
    {"model.vocab['a']", ErrorCode::kCorrupt,
     [](Json& f) { f["model"]["vocab"]["a"] = 4000000000u; }},
    {"model.vocab['a']", ErrorCode::kCorrupt,
     [](Json& f) { f["model"]["vocab"]["a"] = std::uint64_t{1} << 63; }},
    {"model.vocab['Ġa']", ErrorCode::kCorrupt, [](Json& f) { f["model"]["vocab"]["Ġa"] = 1; }},
    {"model.merges", ErrorCode::kCorrupt, [](Json& f) { f["model"]["merges"] = "Ġ a"; }},
    {"model.merges[0]", ErrorCode::kCorrupt, [](Json& f) { f["model"]["merges"][0] = "Ġ b"; }},
    {"model.merges[0]", ErrorCode::kCorrupt, [](Json& f) { f["model"]["merges"][0] = "a a"; }},
    {"model.merges[0]", ErrorCode::kCorrupt, [](Json& f) { f["model"]["merges"][0] = "Ġa"; }},
    {"model.merges[0]", ErrorCode::kCorrupt, [](Json& f) { f["model"]["merges"][0] = 7; }},
    {"model.type", ErrorCode::kUnsupported, [](Json& f) { f["model"]["type"] = "Unigram"; }},
    {"model.dropout", ErrorCode::kUnsupported, [](Json& f) { f["model"]["dropout"] = 0.1; }},
    {"model.unk_token", ErrorCode::kUnsupported, [](Json& f) { f["model"]["unk_token"] = "?"; }},
    {"model.byte_fallback", ErrorCode::kUnsupported,
     [](Json& f) { f["model"]["byte_fallback"] = true; }},
    {"model.ignore_merges", ErrorCode::kCorrupt,
     [](Json& f) { f["model"]["ignore_merges"] = "yes"; }},
    {"model.magic", ErrorCode::kUnsupported, [](Json& f) { f["model"]["magic"] = 1; }},
    {"truncation", ErrorCode::kUnsupported, [](Json& f) { f["truncation"] = Json::object(); }},
    {"normalizer.type", ErrorCode::kUnsupported,
     [](Json& f) {
       f["normalizer"] = Json{{"type", "NFC"}};
     }},
    {"pre_tokenizer.pretokenizers[0].type", ErrorCode::kUnsupported,
     [](Json& f) { first_split(f)["type"] = "Metaspace"; }},
    {"pre_tokenizer.pretokenizers[0].behavior", ErrorCode::kUnsupported,
     [](Json& f) { first_split(f)["behavior"] = "Odd"; }},
    {"pre_tokenizer.pretokenizers[0].pattern", ErrorCode::kUnsupported,
     [](Json& f) { first_split(f)["pattern"]["Regex"] = "("; }},
    {"pre_tokenizer.pretokenizers[0].pattern", ErrorCode::kCorrupt,
     [](Json& f) { first_split(f)["pattern"] = "x"; }},
    {"pre_tokenizer", ErrorCode::kUnsupported,
     [](Json& f) { f["pre_tokenizer"]["pretokenizers"].erase(1); }},
    {"pre_tokenizer.pretokenizers[1].add_prefix_space", ErrorCode::kUnsupported,
     [](Json& f) { f["pre_tokenizer"]["pretokenizers"][1]["add_prefix_space"] = true; }},
    {"post_processor.single", ErrorCode::kUnsupported,
     [](Json& f) {
       f["post_processor"] = Json::parse(R"({"type": "TemplateProcessing", "single": [
         {"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}]})");
     }},
    {"decoder.type", ErrorCode::kUnsupported, [](Json& f) { f["decoder"]["type"] = "Fuse"; }},
    {"added_tokens[0].id", ErrorCode::kCorrupt, [](Json& f) { f["added_tokens"][0]["id"] = 1; }},
    {"added_tokens[0].content", ErrorCode::kCorrupt,
     [](Json& f) { f["added_tokens"][0]["content"] = ""; }},
    {"added_tokens[0].lstrip", ErrorCode::kUnsupported,
     [](Json& f) { f["added_tokens"][0]["lstrip"] = true; }},
    {"surprise", ErrorCode::kUnsupported, [](Json& f) { f["surprise"] = 1; }},
};

TEST(TokenizerJson, WhatIsWrongIsNamed) {
  for (const BadFile& bad : kBadFiles) {
    Json file = small_file();
    bad.break_it(file);
    const auto spec = parse_tokenizer_json(file.dump(), "small");
    ASSERT_FALSE(spec.ok()) << bad.field;
    EXPECT_EQ(spec.error().code, bad.code) << spec.error().message;
    EXPECT_NE(spec.error().message.find(std::string("small: ") + bad.field), std::string::npos)
        << spec.error().message;
  }
}

TEST(TokenizerJson, EveryTruncationIsRefused) {
  const std::string text = small_file().dump();
  for (std::size_t n = 0; n < text.size(); ++n) {
    const auto spec = parse_tokenizer_json(text.substr(0, n), "cut");
    ASSERT_FALSE(spec.ok()) << n;
    EXPECT_EQ(spec.error().code, ErrorCode::kCorrupt);
  }
}

TEST(TokenizerJson, OtherKindsOfJsonAreRefused) {
  for (const char* text : {"[]", "null", "3", "\"x\"", "{}", "{\"model\": []}"}) {
    EXPECT_FALSE(parse_tokenizer_json(text, "odd").ok()) << text;
  }
}

}  // namespace
}  // namespace precis
