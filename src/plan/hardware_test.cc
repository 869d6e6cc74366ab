#include <filesystem>
#include <fstream>
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "precis/planner.h"

namespace precis {
namespace {

class HardwareFile : public ::testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(path_); }
  Result<Hardware> read(const std::string& text) {
    std::ofstream(path_) << text;
    return read_hardware(path_);
  }
  std::filesystem::path path_ =
      std::filesystem::temp_directory_path() / fmt::format("precis_hardware_{}.json", ::getpid());
};

TEST(Hardware, EveryEntryOfTheTableIsCompleteAndFoundByName) {
  for (const Hardware& hardware : known_hardware()) {
    SCOPED_TRACE(hardware.name);
    EXPECT_EQ(find_hardware(hardware.name).value().source, hardware.source);
    EXPECT_FALSE(hardware.source.empty());
    for (const double number :
         {hardware.memory_bytes, hardware.bytes_per_s, hardware.fp8_flop_per_s,
          hardware.bf16_flop_per_s, hardware.f32_flop_per_s, hardware.index_flop_per_s}) {
      EXPECT_GT(number, 0);
    }
  }
}

TEST(Hardware, UnknownNamesAreAnsweredWithTheKnownOnes) {
  const auto found = find_hardware("h800");
  ASSERT_FALSE(found.ok());
  EXPECT_EQ(found.error().code, ErrorCode::kNotFound);
  EXPECT_NE(found.error().message.find("h100, h200, b200"), std::string::npos);
}

TEST_F(HardwareFile, IsReadWithItsClass) {
  const auto hardware = read(
      R"({"name":"ours","class":"measured","memory_bytes":1e9,"bytes_per_s":2e9,)"
      R"("fp8_flop_per_s":3e9,"bf16_flop_per_s":4e9,"f32_flop_per_s":5e9,"index_flop_per_s":6e9})");
  ASSERT_TRUE(hardware.ok()) << hardware.error().message;
  EXPECT_EQ(hardware->name, "ours");
  EXPECT_EQ(hardware->number_class, NumberClass::kMeasured);
  EXPECT_EQ(hardware->bytes_per_s, 2e9);
  EXPECT_EQ(hardware->index_flop_per_s, 6e9);
}

TEST_F(HardwareFile, MissingAndImpossibleNumbersAreNamed) {
  const auto missing = read(R"({"memory_bytes":1e9})");
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, ErrorCode::kCorrupt);
  EXPECT_NE(missing.error().message.find("bytes_per_s: want a number above 0, found nothing"),
            std::string::npos);
  EXPECT_FALSE(read(R"({"memory_bytes":-1})").ok());
  EXPECT_FALSE(read("[1,2]").ok());
  EXPECT_FALSE(read("{").ok());
}

}  // namespace
}  // namespace precis
