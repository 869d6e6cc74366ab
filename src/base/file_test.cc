#include "base/file.h"

#include <cerrno>
#include <fstream>

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/bytes.h"

namespace precis {
namespace {

namespace fs = std::filesystem;

class FileTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "precis-file-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { fs::remove_all(directory_); }

  fs::path put(const std::string& name, const std::string& content) {
    std::ofstream(directory_ / name, std::ios::binary) << content;
    return directory_ / name;
  }
  std::string content(const fs::path& path) { return read_text_file(path, 1 << 20).value(); }
  std::size_t n_entries() {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(directory_), fs::directory_iterator()));
  }

  fs::path directory_;
};

TEST_F(FileTest, MappedBytesAreTheFile) {
  const auto file = MappedFile::open(put("a", "hello"));
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->n_bytes(), 5u);
  EXPECT_EQ(std::to_integer<char>(file->bytes()[4]), 'o');
}

TEST_F(FileTest, MovingKeepsTheAddress) {
  auto file = MappedFile::open(put("a", "hello"));
  const std::byte* address = file->bytes().data();
  const MappedFile moved = std::move(*file);
  EXPECT_EQ(moved.bytes().data(), address);
}

TEST_F(FileTest, EmptyFileMapsToNothing) {
  const auto file = MappedFile::open(put("a", ""));
  ASSERT_TRUE(file.ok());
  EXPECT_TRUE(file->bytes().empty());
  file->advise(Access::kWillNeed, 0, 0);
}

TEST_F(FileTest, AdviceLeavesTheBytesReadable) {
  const std::string text(10000, 'x');
  const auto file = MappedFile::open(put("a", text));
  for (const Access access : {Access::kSequential, Access::kRandom, Access::kWillNeed,
                              Access::kDontNeed, Access::kNormal}) {
    file->advise(access, 5000, 5000);
    EXPECT_EQ(std::to_integer<char>(file->bytes()[9999]), 'x');
  }
}

TEST_F(FileTest, MissingFileAndMissingDirectoryAreNotFound) {
  for (const char* name : {"absent", "absent/file"}) {
    const auto file = MappedFile::open(directory_ / name);
    ASSERT_FALSE(file.ok());
    EXPECT_EQ(file.error().code, ErrorCode::kNotFound);
    EXPECT_NE(file.error().message.find(name), std::string::npos);
  }
  EXPECT_EQ(AtomicFile::create(directory_ / "absent/file").error().code, ErrorCode::kNotFound);
}

TEST_F(FileTest, DirectoriesAndPipesAreRefused) {
  EXPECT_EQ(MappedFile::open(directory_).error().code, ErrorCode::kIo);
  ASSERT_EQ(::mkfifo((directory_ / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(MappedFile::open(directory_ / "pipe").error().code, ErrorCode::kIo);
}

TEST_F(FileTest, TextLongerThanAllowedIsCorrupt) {
  const fs::path path = put("a", "12345");
  EXPECT_EQ(read_text_file(path, 5).value(), "12345");
  const auto text = read_text_file(path, 4);
  ASSERT_FALSE(text.ok());
  EXPECT_EQ(text.error().code, ErrorCode::kCorrupt);
  EXPECT_NE(text.error().message.find("at most 4 bytes, found 5"), std::string::npos);
}

TEST_F(FileTest, CommitReplacesTheWholeFile) {
  const fs::path path = put("a", "a longer old content");
  auto file = AtomicFile::create(path);
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(file->write(as_bytes("new ")).ok());
  ASSERT_TRUE(file->write(as_bytes("one")).ok());
  EXPECT_EQ(content(path), "a longer old content");
  ASSERT_TRUE(file->commit().ok());
  EXPECT_EQ(content(path), "new one");
  EXPECT_EQ(file->n_bytes_written(), 7u);
  EXPECT_EQ(n_entries(), 1u);
}

TEST_F(FileTest, WithoutCommitNothingStays) {
  const fs::path path = put("a", "old");
  {
    auto file = AtomicFile::create(path);
    ASSERT_TRUE(file->write(as_bytes("new")).ok());
    const AtomicFile moved = std::move(*file);
    EXPECT_EQ(n_entries(), 2u);
  }
  EXPECT_EQ(content(path), "old");
  EXPECT_EQ(n_entries(), 1u);
}

TEST_F(FileTest, FullDiskNamesPathAndBytesAndLeavesTheOldFile) {
  const fs::path path = put("a", "old");
  for (const std::uint64_t n_bytes : {0u, 1u, 5u, 9u}) {
    const ScopedWriteFault fault(n_bytes, ENOSPC);
    auto file = AtomicFile::create(path);
    const auto written = file->write(as_bytes("0123456789"));
    ASSERT_FALSE(written.ok());
    EXPECT_EQ(written.error().code, ErrorCode::kIo);
    EXPECT_EQ(written.error().message, path.string() + ": cannot write " +
                                           std::to_string(10 - n_bytes) +
                                           " bytes: No space left on device");
    EXPECT_EQ(content(path), "old");
    EXPECT_EQ(n_entries(), 1u);
  }
}

TEST_F(FileTest, FailedSyncLeavesTheOldFile) {
  const fs::path path = put("a", "old");
  const ScopedWriteFault fault(3, EIO);
  auto file = AtomicFile::create(path);
  ASSERT_TRUE(file->write(as_bytes("new")).ok());
  const auto committed = file->commit();
  ASSERT_FALSE(committed.ok());
  EXPECT_EQ(committed.error().code, ErrorCode::kIo);
  EXPECT_EQ(content(path), "old");
  EXPECT_EQ(n_entries(), 1u);
}

TEST_F(FileTest, RenameOntoADirectoryFailsCleanly) {
  auto file = AtomicFile::create(directory_ / "d");
  fs::create_directory(directory_ / "d");  // between the check and the rename
  ASSERT_TRUE(file->write(as_bytes("new")).ok());
  EXPECT_EQ(file->commit().error().code, ErrorCode::kIo);
  EXPECT_TRUE(fs::is_directory(directory_ / "d"));
  EXPECT_EQ(n_entries(), 1u);
}

TEST_F(FileTest, WhatIsNoRegularFileIsNotReplaced) {
  ASSERT_EQ(::mkfifo((directory_ / "pipe").c_str(), 0600), 0);
  for (const fs::path& path : {directory_ / "pipe", directory_}) {
    const auto file = AtomicFile::create(path);
    ASSERT_FALSE(file.ok());
    EXPECT_EQ(file.error().code, ErrorCode::kIo);
    EXPECT_NE(file.error().message.find(path.string()), std::string::npos);
  }
  EXPECT_TRUE(fs::is_fifo(directory_ / "pipe"));
  EXPECT_EQ(n_entries(), 1u);
}

}  // namespace
}  // namespace precis
