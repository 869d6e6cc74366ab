#include "cli/format.h"

#include <gtest/gtest.h>

namespace precis::cli {
namespace {

TEST(FormatCount, GroupsDigitsByThree) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(1000), "1,000");
  EXPECT_EQ(format_count(131072), "131,072");
  EXPECT_EQ(format_count(-1234567), "-1,234,567");
  EXPECT_EQ(format_count(-123), "-123");
}

TEST(FormatBytes, ShowsThreeDigits) {
  EXPECT_EQ(format_bytes(999), "999 B");
  EXPECT_EQ(format_bytes(1000), "0.98 KiB");
  EXPECT_EQ(format_bytes(1536), "1.50 KiB");
  EXPECT_EQ(format_bytes(23 * 1024 * 1024), "23.0 MiB");
  EXPECT_EQ(format_bytes(512LL * 1024 * 1024 * 1024), "512 GiB");
}

TEST(FormatSeconds, ChangesUnitAtMinutesAndHours) {
  EXPECT_EQ(format_seconds(0.84), "0.8 s");
  EXPECT_EQ(format_seconds(59.4), "59 s");
  EXPECT_EQ(format_seconds(185), "3 min 05 s");
  EXPECT_EQ(format_seconds(7265), "2 h 01 min");
}

TEST(ParseSize, TakesPlainNumbersAndBinarySuffixes) {
  EXPECT_EQ(*parse_size("--ctx", "4096"), 4096);
  EXPECT_EQ(*parse_size("--ctx", "128K"), 131072);
  EXPECT_EQ(*parse_size("--ctx", "1m"), 1048576);
  EXPECT_EQ(*parse_size("--ctx", "0"), 0);
}

TEST(ParseSize, RefusesEverythingElse) {
  for (const char* text : {"", "K", "-1", "1.5K", "12KB", "0x10", " 4", "9223372036854775807K"}) {
    const Result<std::int64_t> result = parse_size("--ctx", text);
    ASSERT_FALSE(result.ok()) << text;
    EXPECT_EQ(result.error().code, ErrorCode::kInvalidArgument);
    EXPECT_EQ(result.error().message.find("--ctx: "), 0u);
  }
}

TEST(Table, PadsToTheWidestCellAndLeavesNoTrailingSpace) {
  Table table({{"name", Table::Align::kLeft}, {"n"}, {"note", Table::Align::kLeft}});
  table.add({"a", "1,000", ""});
  table.add({"élan", "7", "x"});
  EXPECT_EQ(table.text(),
            "name      n  note\n"
            "a     1,000\n"
            "élan      7  x\n");
}

TEST(TokensPerSecond, IsZeroWhereNoTimeHasPassed) {
  EXPECT_EQ(tokens_per_second(10, 0), 0);
  EXPECT_EQ(tokens_per_second(10, 2), 5);
}

}  // namespace
}  // namespace precis::cli
