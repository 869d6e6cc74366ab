#include "text/utf8.h"

#include <gtest/gtest.h>

#include "precis/text.h"

namespace precis {
namespace {

std::string lossy(std::string_view text) {
  std::string out;
  utf8::append_lossy(text, out);
  return out;
}

// Expectations are Python's: bytes(...).decode("utf-8", "replace").
constexpr std::pair<std::string_view, std::string_view> kReplacements[] = {
    {"plain ascii, long enough for words", "plain ascii, long enough for words"},
    {"\xC3\xA9\xE6\x9D\xB1\xF0\x9F\x97\xBC", "é東🗼"},
    {"a\xFF"
     "b",
     "a\uFFFDb"},
    {"\xC0\xAF", "\uFFFD\uFFFD"},
    {"\xE2\x82", "\uFFFD"},
    {"\xE2\x82z", "\uFFFDz"},
    {"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"},
    {"\xF0\x9F\x97", "\uFFFD"},
    {"\xF0\x80\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},
    {"\xF4\x90\x80\x80", "\uFFFD\uFFFD\uFFFD\uFFFD"},
    {"\xF5\x80", "\uFFFD\uFFFD"},
    {"\x80\xBF", "\uFFFD\uFFFD"},
};

TEST(Utf8, ReplacesMaximalPartsAsPythonDoes) {
  for (const auto& [bytes, want] : kReplacements) EXPECT_EQ(lossy(bytes), want);
}

TEST(Utf8, IsValidExactlyWhenNothingIsReplaced) {
  for (const auto& [bytes, want] : kReplacements) EXPECT_EQ(utf8::is_valid(bytes), bytes == want);
}

TEST(Utf8, AppendAndNextAreInverse) {
  for (char32_t c = 1; c < 0x110000; c += c < 0x3000 ? 1 : 97) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    utf8::append(c, text);
    const utf8::Step step = utf8::next(text);
    ASSERT_EQ(step.kind, utf8::StepKind::kCharacter) << static_cast<unsigned>(c);
    ASSERT_EQ(step.code_point, c);
    ASSERT_EQ(step.n_bytes, text.size());
  }
}

TEST(Utf8Stream, GivesTheSameTextForEveryCut) {
  std::string bytes;
  for (const auto& [part, want] : kReplacements) bytes += std::string(part) + "|";
  bytes += "\xF0\x9F";
  for (std::size_t first = 0; first <= bytes.size(); ++first) {
    for (std::size_t second = first; second <= bytes.size(); second += 3) {
      Utf8Stream stream;
      std::string out = stream.feed(std::string_view(bytes).substr(0, first));
      out += stream.feed(std::string_view(bytes).substr(first, second - first));
      out += stream.feed(std::string_view(bytes).substr(second));
      out += stream.flush();
      ASSERT_EQ(out, lossy(bytes)) << first << " " << second;
    }
  }
}

TEST(Utf8Stream, HoldsBackOnlyTheUnfinishedCharacter) {
  Utf8Stream stream;
  EXPECT_EQ(stream.feed("ab\xF0\x9F\x97"), "ab");
  EXPECT_EQ(stream.feed("\xBC!"), "🗼!");
  EXPECT_EQ(stream.feed("\xE6"), "");
  EXPECT_EQ(stream.flush(), "\uFFFD");
  EXPECT_EQ(stream.flush(), "");
}

}  // namespace
}  // namespace precis
