// The UTF-8 decoder of this folder, and Utf8Stream of the public header.
#include "text/utf8.h"

#include <cstring>

#include "precis/text.h"

#include "base/check.h"

namespace precis::utf8 {
namespace {

struct Lead {
  std::size_t n_bytes;       // 0: no character starts with this byte
  std::uint8_t second_low;   // the range of the second byte keeps out overlong forms,
  std::uint8_t second_high;  // surrogates and what lies above U+10FFFF
  std::uint8_t payload_mask;
};

constexpr Lead lead_of(std::uint8_t byte) {
  if (byte < 0x80) return {1, 0, 0, 0x7F};
  if (byte < 0xC2) return {0, 0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF, 0x1F};
  if (byte == 0xE0) return {3, 0xA0, 0xBF, 0x0F};
  if (byte == 0xED) return {3, 0x80, 0x9F, 0x0F};
  if (byte < 0xF0) return {3, 0x80, 0xBF, 0x0F};
  if (byte == 0xF0) return {4, 0x90, 0xBF, 0x07};
  if (byte < 0xF4) return {4, 0x80, 0xBF, 0x07};
  if (byte == 0xF4) return {4, 0x80, 0x8F, 0x07};
  return {0, 0, 0, 0};
}

// The length of the run of ASCII at the start; text is mostly ASCII, and eight bytes a test keep
// validation far below the cost of splitting.
std::size_t ascii_prefix(std::string_view text) {
  std::size_t n = 0;
  while (n + 8 <= text.size()) {
    std::uint64_t word;
    std::memcpy(&word, text.data() + n, 8);
    if (word & 0x8080808080808080u) break;
    n += 8;
  }
  while (n < text.size() && static_cast<std::uint8_t>(text[n]) < 0x80) ++n;
  return n;
}

}  // namespace

Step next(std::string_view text) {
  PRECIS_DCHECK(!text.empty());
  const auto first = static_cast<std::uint8_t>(text[0]);
  const Lead lead = lead_of(first);
  if (lead.n_bytes == 0) return {StepKind::kInvalid, 1};
  char32_t code_point = first & lead.payload_mask;
  for (std::size_t i = 1; i < lead.n_bytes; ++i) {
    if (i == text.size()) return {StepKind::kIncomplete, i};
    const auto byte = static_cast<std::uint8_t>(text[i]);
    const std::uint8_t low = i == 1 ? lead.second_low : 0x80;
    const std::uint8_t high = i == 1 ? lead.second_high : 0xBF;
    if (byte < low || byte > high) return {StepKind::kInvalid, i};
    code_point = code_point << 6 | (byte & 0x3F);
  }
  return {StepKind::kCharacter, lead.n_bytes, code_point};
}

bool is_valid(std::string_view text) {
  while (true) {
    text.remove_prefix(ascii_prefix(text));
    if (text.empty()) return true;
    const Step step = next(text);
    if (step.kind != StepKind::kCharacter) return false;
    text.remove_prefix(step.n_bytes);
  }
}

void append_lossy(std::string_view text, std::string& out) {
  while (!text.empty()) {
    std::size_t n_bytes = ascii_prefix(text);
    bool well_formed = true;
    if (n_bytes == 0) {
      const Step step = next(text);
      n_bytes = step.n_bytes;
      well_formed = step.kind == StepKind::kCharacter;
    }
    out += well_formed ? text.substr(0, n_bytes) : kReplacement;
    text.remove_prefix(n_bytes);
  }
}

void append(char32_t code_point, std::string& out) {
  const auto tail = [&](int shift) {
    out += static_cast<char>(0x80 | (code_point >> shift & 0x3F));
  };
  if (code_point < 0x80) {
    out += static_cast<char>(code_point);
  } else if (code_point < 0x800) {
    out += static_cast<char>(0xC0 | code_point >> 6);
    tail(0);
  } else if (code_point < 0x10000) {
    out += static_cast<char>(0xE0 | code_point >> 12);
    tail(6), tail(0);
  } else {
    out += static_cast<char>(0xF0 | code_point >> 18);
    tail(12), tail(6), tail(0);
  }
}

}  // namespace precis::utf8

namespace precis {

std::string Utf8Stream::feed(std::string_view bytes) {
  std::string joined = std::move(pending_);
  joined += bytes;
  // Only the last three bytes can belong to an unfinished character.
  std::size_t n_complete = joined.size();
  for (std::size_t back = 1; back <= 3 && back <= joined.size(); ++back) {
    const std::string_view tail = std::string_view(joined).substr(joined.size() - back);
    if ((static_cast<std::uint8_t>(tail[0]) & 0xC0) == 0x80) continue;
    const utf8::Step step = utf8::next(tail);
    if (step.kind == utf8::StepKind::kIncomplete && step.n_bytes == back) n_complete -= back;
    break;
  }
  pending_ = joined.substr(n_complete);
  std::string out;
  utf8::append_lossy(std::string_view(joined).substr(0, n_complete), out);
  return out;
}

std::string Utf8Stream::flush() {
  std::string out;
  utf8::append_lossy(pending_, out);
  pending_.clear();
  return out;
}

}  // namespace precis
