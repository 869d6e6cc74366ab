// Reads a Hugging Face `tokenizer.json` into the tables a Tokenizer needs.
//
// Every field is either understood or refused by name: a tokenizer that is almost right produces
// fluent nonsense.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "precis/status.h"

#include "text/bpe.h"
#include "text/pre_tokenizer.h"

namespace precis {

struct AddedToken {
  TokenId id;
  std::string content;
  bool special;
  bool normalized;  // matched after the others; without a normalizer that is all it means
};

struct TokenizerSpec {
  TokensByBytes vocab;           // entries spelled in the byte alphabet, by their bytes
  std::vector<BpeMerge> merges;  // in order of rank
  Bpe::WholeWords whole_words = Bpe::WholeWords::kByMerges;
  std::vector<SplitRule> split_rules;
  std::vector<AddedToken> added_tokens;
  std::vector<std::string> bytes_by_id;  // empty where a number is no token
};

/// Errors    kCorrupt, kUnsupported — naming `name` and the field, as Tokenizer::parse
Result<TokenizerSpec> parse_tokenizer_json(std::string_view json_text, const std::string& name);

}  // namespace precis
