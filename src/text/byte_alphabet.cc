// The alphabet of GPT-2's bytes_to_unicode: printable Latin-1 stands for itself, the other 68
// bytes follow from U+0100 on in order.
#include "text/byte_alphabet.h"

#include <array>
#include <cstdint>

#include "text/utf8.h"

namespace precis {
namespace {

constexpr int kNotInAlphabet = -1;
constexpr std::size_t kAlphabetEnd = 0x100 + 68;

constexpr bool stands_for_itself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr std::array<std::int16_t, kAlphabetEnd> make_byte_of_character() {
  std::array<std::int16_t, kAlphabetEnd> byte_of{};
  for (auto& byte : byte_of) byte = kNotInAlphabet;
  std::size_t next_character = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    byte_of[stands_for_itself(byte) ? static_cast<std::size_t>(byte) : next_character++] =
        static_cast<std::int16_t>(byte);
  }
  return byte_of;
}

constexpr auto kByteOfCharacter = make_byte_of_character();

}  // namespace

std::optional<std::string> bytes_from_alphabet(std::string_view text) {
  std::string bytes;
  while (!text.empty()) {
    const utf8::Step step = utf8::next(text);
    if (step.kind != utf8::StepKind::kCharacter || step.code_point >= kAlphabetEnd) {
      return std::nullopt;
    }
    const int byte = kByteOfCharacter[step.code_point];
    if (byte == kNotInAlphabet) return std::nullopt;
    bytes += static_cast<char>(byte);
    text.remove_prefix(step.n_bytes);
  }
  return bytes;
}

}  // namespace precis
