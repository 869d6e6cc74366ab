// Any bytes as a tokenizer.json: parse() either refuses them or gives a tokenizer that can encode
// and decode without a fault.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "precis/text.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto tokenizer = precis::Tokenizer::parse(text, "fuzz");
  if (!tokenizer.ok()) return 0;
  const std::string_view sample = text.substr(0, 256);
  const auto tokens = tokenizer->encode(sample, precis::SpecialTokens::kParse);
  tokenizer->decode(tokens);
  return 0;
}
