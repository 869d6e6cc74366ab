#include "kv/snapshot.h"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/file.h"
#include "kv/kv_test_util.h"
#include "xxhash.h"

namespace precis {
namespace {

namespace fs = std::filesystem;

constexpr SnapshotIdentity kIdentity{0x1234'5678'9abc'def0, 1, 50};
constexpr std::size_t kHeaderBytes = 64;

// A cache of 300 tokens, saved to a file of a temporary directory.
class SnapshotTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "precis-snapshot-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
    path_ = directory_ / "session";
    KvWorld::fill(*cache_, 300, 7);
    for (int i = 0; i < 300; ++i) tokens_.push_back(i % 50);
    for (int i = 0; i < 50; ++i) logits_.push_back(static_cast<float>(i) * 0.25F);
    ASSERT_TRUE(write(path_).ok());
    bytes_ = read_text_file(path_, 1 << 24).value();
  }
  void TearDown() override { fs::remove_all(directory_); }

  Result<void> write(const fs::path& path) {
    return write_snapshot(path, kIdentity, tokens_, logits_, *cache_);
  }
  // Reads the bytes into a cache of its own, which must stay as it was if they are refused.
  Result<SnapshotContent> read(const std::string& bytes, std::int64_t max_tokens = 2048) {
    const fs::path path = directory_ / "changed";
    std::ofstream(path, std::ios::binary) << bytes;
    const auto cache = world_.new_cache(max_tokens);
    KvWorld::fill(*cache, 5, 99);
    const std::vector<std::byte> before = KvWorld::content(*cache);
    auto content = read_snapshot(path, kIdentity, *cache);
    if (!content.ok()) {
      EXPECT_EQ(KvWorld::content(*cache), before) << content.error().message;
      EXPECT_EQ(cache->n_tokens(), 5);
      EXPECT_NE(content.error().message.find(path.string()), std::string::npos)
          << content.error().message;
    }
    return content;
  }
  // Puts an integer into the header and makes its checksum fit again.
  template <typename T>
  std::string with_header(std::size_t at, T value) const {
    std::string bytes = bytes_;
    auto* raw = reinterpret_cast<std::byte*>(bytes.data());
    put_le(raw + at, value);
    put_le(raw + 56, static_cast<std::uint64_t>(XXH3_64bits(raw, 56)));
    return bytes;
  }
  std::size_t n_entries() const {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(directory_), fs::directory_iterator()));
  }

  KvWorld world_;
  std::unique_ptr<KvCache> cache_ = world_.new_cache();
  std::vector<std::int32_t> tokens_;
  std::vector<float> logits_;
  fs::path directory_;
  fs::path path_;
  std::string bytes_;
};

TEST_F(SnapshotTest, RoundTripIsBitwise) {
  const auto cache = world_.new_cache();
  KvWorld::fill(*cache, 700, 3);  // longer than what replaces it
  const auto content = read_snapshot(path_, kIdentity, *cache);
  ASSERT_TRUE(content.ok()) << content.error().message;
  EXPECT_EQ(content->tokens, tokens_);
  EXPECT_EQ(content->logits, logits_);
  EXPECT_EQ(cache->n_tokens(), 300);
  EXPECT_EQ(KvWorld::content(*cache), KvWorld::content(*cache_));
}

TEST_F(SnapshotTest, HeaderIsLaidOutAsDocumented) {
  const auto* at = reinterpret_cast<const std::byte*>(bytes_.data());
  EXPECT_EQ(bytes_.substr(0, 4), "PRSV");
  EXPECT_EQ(get_le<std::uint32_t>(at + 4), 1u);
  EXPECT_EQ(get_le<std::uint64_t>(at + 8), kIdentity.model_fingerprint);
  EXPECT_EQ(get_le<std::uint32_t>(at + 16), 1u);
  EXPECT_EQ(get_le<std::uint32_t>(at + 20), 50u);
  EXPECT_EQ(get_le<std::uint64_t>(at + 24), 300u);
  EXPECT_EQ(get_le<std::uint64_t>(at + 32), static_cast<std::uint64_t>(cache_->fixed_bytes()));
  EXPECT_EQ(get_le<std::uint64_t>(at + 40), static_cast<std::uint64_t>(cache_->page_bytes()));
  EXPECT_EQ(get_le<std::uint64_t>(at + 48), 3u);
  EXPECT_EQ(get_le<std::uint64_t>(at + 56), XXH3_64bits(at, 56));
  const std::size_t payload = bytes_.size() - kHeaderBytes - 8;
  EXPECT_EQ(get_le<std::uint64_t>(at + kHeaderBytes + payload),
            XXH3_64bits(at + kHeaderBytes, payload));
}

TEST_F(SnapshotTest, EveryFlippedHeaderBitIsNoticed) {
  for (std::size_t i = 0; i < kHeaderBytes; ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string bytes = bytes_;
      bytes[i] = static_cast<char>(bytes[i] ^ (1 << bit));
      EXPECT_FALSE(read(bytes).ok()) << "byte " << i << " bit " << bit;
    }
  }
}

TEST_F(SnapshotTest, EveryTruncationIsNoticed) {
  std::vector<std::size_t> lengths{0, 1, 63, 64, 71, 72, 73, bytes_.size() - 8, bytes_.size() - 1};
  for (std::size_t n = 100; n < bytes_.size(); n += bytes_.size() / 37) lengths.push_back(n);
  for (const std::size_t n : lengths) {
    const auto content = read(bytes_.substr(0, n));
    ASSERT_FALSE(content.ok()) << n;
    EXPECT_EQ(content.error().code, ErrorCode::kCorrupt) << content.error().message;
  }
  EXPECT_FALSE(read(bytes_ + "x").ok());
}

TEST_F(SnapshotTest, FlippedPayloadBitIsNoticedWhereverItIs) {
  for (int i = 0; i < 60; ++i) {
    std::string bytes = bytes_;
    const std::size_t span = bytes.size() - kHeaderBytes;
    const auto at = static_cast<std::size_t>(kHeaderBytes +
                                             random_bits(1, static_cast<std::uint64_t>(i)) % span);
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << (i % 8)));
    const auto content = read(bytes);
    ASSERT_FALSE(content.ok()) << "byte " << at;
    EXPECT_EQ(content.error().code, ErrorCode::kCorrupt);
  }
}

TEST_F(SnapshotTest, OtherModelModeAndVersionAreUnsupported) {
  for (const std::string& bytes :
       {with_header<std::uint64_t>(8, 1), with_header<std::uint32_t>(16, 0),
        with_header<std::uint32_t>(4, 2), with_header<std::uint32_t>(20, 49),
        with_header<std::uint64_t>(32, 8), with_header<std::uint64_t>(40, 8)}) {
    const auto content = read(bytes);
    ASSERT_FALSE(content.ok());
    EXPECT_EQ(content.error().code, ErrorCode::kUnsupported) << content.error().message;
  }
}

TEST_F(SnapshotTest, AbsurdCountsAreRefusedBeforeTheyAreUsed) {
  for (const std::uint64_t n : {std::uint64_t{0}, std::uint64_t{1} << 62, ~std::uint64_t{0}}) {
    EXPECT_FALSE(read(with_header<std::uint64_t>(24, n)).ok()) << n;
    EXPECT_FALSE(read(with_header<std::uint64_t>(48, n)).ok()) << n;
  }
}

TEST_F(SnapshotTest, TokenOutsideTheVocabularyIsCorrupt) {
  tokens_[17] = 50;
  ASSERT_TRUE(write(path_).ok());
  const auto content = read(read_text_file(path_, 1 << 24).value());
  ASSERT_FALSE(content.ok());
  EXPECT_EQ(content.error().code, ErrorCode::kCorrupt);
}

TEST_F(SnapshotTest, TooLongForTheSessionSaysBothNumbers) {
  const auto content = read(bytes_, 299);
  ASSERT_FALSE(content.ok());
  EXPECT_EQ(content.error().code, ErrorCode::kBudget);
  EXPECT_NE(content.error().message.find("300"), std::string::npos) << content.error().message;
  EXPECT_NE(content.error().message.find("299"), std::string::npos) << content.error().message;
}

TEST_F(SnapshotTest, FullDiskLeavesTheOldFileAndNothingElse) {
  const std::size_t n = bytes_.size();
  for (const std::size_t room : {std::size_t{0}, std::size_t{1}, kHeaderBytes, kHeaderBytes + 1,
                                 n / 3, n / 2, n - 8, n - 1, n}) {
    tokens_[0] = 1;  // what would be written differs from what stands there
    {
      const ScopedWriteFault full_disk(room, ENOSPC);
      const auto result = write(path_);
      ASSERT_FALSE(result.ok()) << room;
      EXPECT_EQ(result.error().code, ErrorCode::kIo) << result.error().message;
      EXPECT_NE(result.error().message.find(path_.string()), std::string::npos);
    }
    EXPECT_EQ(n_entries(), 1u) << room;
    EXPECT_EQ(read_text_file(path_, 1 << 24).value(), bytes_) << room;
  }
  EXPECT_TRUE(write(path_).ok());
}

TEST_F(SnapshotTest, MissingDirectoryAndMissingFileAreNotFound) {
  const auto written = write(directory_ / "absent" / "session");
  ASSERT_FALSE(written.ok());
  EXPECT_EQ(written.error().code, ErrorCode::kNotFound);
  const auto content = read_snapshot(directory_ / "absent", kIdentity, *cache_);
  ASSERT_FALSE(content.ok());
  EXPECT_EQ(content.error().code, ErrorCode::kNotFound);
}

TEST(Snapshot, CacheWithoutPagesRoundTrips) {
  KvSpec spec = small_kv_spec();
  spec.layers = {{}, {}};
  KvWorld world(spec);
  const auto cache = world.new_cache();
  KvWorld::fill(*cache, 40, 5);
  const fs::path path = fs::temp_directory_path() / "precis-window-only-snapshot";
  const std::vector<std::int32_t> tokens(40, 2);
  const std::vector<float> logits(kIdentity.vocab_size, 1.5F);
  ASSERT_TRUE(write_snapshot(path, kIdentity, tokens, logits, *cache).ok());
  const auto other = world.new_cache();
  const auto content = read_snapshot(path, kIdentity, *other);
  fs::remove(path);
  ASSERT_TRUE(content.ok()) << content.error().message;
  EXPECT_EQ(KvWorld::content(*other), KvWorld::content(*cache));
}

}  // namespace
}  // namespace precis
