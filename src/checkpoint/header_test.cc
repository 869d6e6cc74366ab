#include "checkpoint/header.h"

#include <gtest/gtest.h>

#include "base/bytes.h"

namespace precis {
namespace {

constexpr char kGood[] = R"({"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}})";

std::string file_of(std::string_view json, std::size_t payload_bytes) {
  std::string file(8, '\0');
  put_le<std::uint64_t>(reinterpret_cast<std::byte*>(file.data()), json.size());
  file += json;
  file.append(payload_bytes, 'x');
  return file;
}

Result<SafetensorsHeader> parse(const std::string& file) {
  return parse_safetensors_header(as_bytes(file), file.size(), "m.safetensors");
}

// Every refusal names the file and says what is wrong; an acceptance is the failure.
void expect_refused(const std::string& file, std::string_view what,
                    ErrorCode code = ErrorCode::kCorrupt) {
  const auto header = parse(file);
  ASSERT_FALSE(header.ok()) << file.substr(8, 200);
  EXPECT_EQ(header.error().code, code) << header.error().message;
  EXPECT_EQ(header.error().message.rfind("m.safetensors: ", 0), 0u) << header.error().message;
  EXPECT_NE(header.error().message.find(what), std::string::npos)
      << header.error().message << "\nwanted in it: " << what;
}

// A header with one tensor "a" whose entry is `fields`.
void expect_entry_refused(const std::string& fields, std::string_view what,
                          ErrorCode code = ErrorCode::kCorrupt) {
  expect_refused(file_of(R"({"a":{)" + fields + "}}", 16), what, code);
}

TEST(SafetensorsHeader, OffsetsCountFromTheFilesStart) {
  const auto header = parse(file_of(kGood, 16));
  ASSERT_TRUE(header.ok()) << header.error().message;
  ASSERT_EQ(header->tensors.size(), 1u);
  const TensorInfo& a = header->tensors[0];
  EXPECT_EQ(a.name, "a");
  EXPECT_EQ(a.dtype, DType::kF32);
  EXPECT_EQ(a.shape, (std::vector<std::int64_t>{2, 2}));
  EXPECT_EQ(a.offset, 8 + sizeof kGood - 1);
  EXPECT_EQ(a.n_bytes, 16u);
}

TEST(SafetensorsHeader, TensorsComeSortedByNameWhateverTheirPlace) {
  const auto header = parse(file_of(
      R"({"__metadata__":{"format":"pt"},
          "z":{"data_offsets":[3,3],"shape":[0,7],"dtype":"BF16"},
          "b":{"dtype":"F4","shape":[4],"data_offsets":[1,3]},
          "c":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}   )",
      3));
  ASSERT_TRUE(header.ok()) << header.error().message;
  ASSERT_EQ(header->tensors.size(), 3u);
  EXPECT_EQ(header->tensors[0].name, "b");
  EXPECT_EQ(header->tensors[1].name, "c");
  EXPECT_EQ(header->tensors[2].name, "z");
  EXPECT_EQ(header->metadata.at("format"), "pt");
}

TEST(SafetensorsHeader, EveryDtypeOfTheReleaseIsKnown) {
  for (const char* name : {"BF16", "F32", "F8_E4M3", "F8_E8M0", "I64", "I8", "U8"}) {
    const std::size_t n_bytes = storage_bytes(*dtype_from_name(name), 3);
    const std::string json = std::string(R"({"a":{"dtype":")") + name +
                             R"(","shape":[3],"data_offsets":[0,)" + std::to_string(n_bytes) +
                             "]}}";
    EXPECT_TRUE(parse(file_of(json, n_bytes)).ok()) << name;
  }
}

TEST(SafetensorsHeader, LengthOutOfBoundsIsRefused) {
  expect_refused("", "at least 8 bytes, found 0");
  expect_refused("1234567", "at least 8 bytes, found 7");
  expect_refused(std::string(8, '\0'), "found length 0");
  std::string huge = file_of(kGood, 16);
  put_le<std::uint64_t>(reinterpret_cast<std::byte*>(huge.data()), kMaxHeaderBytes + 1);
  expect_refused(huge, "found length 100000001");
  put_le<std::uint64_t>(reinterpret_cast<std::byte*>(huge.data()), ~std::uint64_t{0});
  expect_refused(huge, "found length 18446744073709551615");
}

TEST(SafetensorsHeader, EveryTruncationIsRefused) {
  const std::string whole = file_of(kGood, 16);
  for (std::size_t n = 0; n < whole.size(); ++n) {
    EXPECT_FALSE(parse(whole.substr(0, n)).ok()) << n;
  }
  expect_refused(whole.substr(0, 30), "found a file of 30");
  expect_refused(whole.substr(0, whole.size() - 1), "tensor a: want data within the payload of 15");
}

TEST(SafetensorsHeader, TrailingBytesAreRefused) {
  expect_refused(file_of(kGood, 17), "want a payload of 16 bytes for its tensors, found 17");
}

TEST(SafetensorsHeader, MalformedJsonIsRefused) {
  for (const char* json : {"{", "{]", "{\"a\"}", "{} {}", "{}x", "\xff\xfe", "{\"a\":1e999}"}) {
    expect_refused(file_of(json, 0), "syntax error");
  }
  for (const char* json : {"[]", "1", "null", "\"a\"", "true", "-1", "1.5"}) {
    expect_refused(file_of(json, 0), "want a JSON object as header");
  }
  expect_refused(file_of(std::string(100000, '['), 0), "want a JSON object as header");
}

TEST(SafetensorsHeader, MetadataHoldsStringsOnly) {
  expect_refused(file_of(R"({"__metadata__":{"k":1}})", 0), "__metadata__ k: want a string");
  expect_refused(file_of(R"({"__metadata__":{"k":{}}})", 0), "__metadata__ k: want a string");
  expect_refused(file_of(R"({"__metadata__":"k"})", 0), "want an object");
  expect_refused(file_of(R"({"__metadata__":{},"__metadata__":{}})", 0), "found two");
}

TEST(SafetensorsHeader, EntriesHaveTheThreeFieldsOnceEach) {
  expect_entry_refused(R"("shape":[2],"data_offsets":[0,16])", "tensor a: want a dtype");
  expect_entry_refused(R"("dtype":"F32","data_offsets":[0,16])", "tensor a: want a shape");
  expect_entry_refused(R"("dtype":"F32","shape":[4])", "want two data_offsets, found 0");
  expect_entry_refused(R"("dtype":"F32","dtype":"F32")", "once each, found dtype");
  expect_entry_refused(R"("stride":[1])", "once each, found stride");
  expect_refused(file_of(R"({"a":[]})", 0), "tensor a: want an object, found an array");
  expect_refused(file_of(R"({"a":3})", 0), "tensor a: want an object, found a number");
}

TEST(SafetensorsHeader, UnknownDtypeIsUnsupported) {
  expect_entry_refused(R"("dtype":"F6_E2M3","shape":[4],"data_offsets":[0,16])",
                       "tensor a: want a known dtype, found F6_E2M3", ErrorCode::kUnsupported);
  expect_entry_refused(R"("dtype":4)", "tensor a: want a string as dtype, found a number");
}

TEST(SafetensorsHeader, ShapesAreSizes) {
  const auto shape = [](const std::string& text) {
    return R"("dtype":"F32","shape":)" + text + R"(,"data_offsets":[0,16])";
  };
  expect_entry_refused(shape("[-4]"), "in its shape, found a negative number (-4)");
  expect_entry_refused(shape("[4.0]"), "in its shape, found the number 4.0");
  expect_entry_refused(shape("[9223372036854775808]"), "found a number above 2^63");
  expect_entry_refused(shape("[18446744073709551616]"), "in its shape, found the number");
  expect_entry_refused(shape("[[4]]"), "in its shape, found an array");
  expect_entry_refused(shape("4"), "in its shape, found a number");
  expect_entry_refused(shape("[\"4\"]"), "in its shape, found a string");
  expect_entry_refused(shape("[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,4]"), "at most 16 dimensions");
}

TEST(SafetensorsHeader, ProductsThatOverflowAreRefused) {
  for (const char* shape : {"[4294967296,4294967296]", "[9223372036854775807,2]",
                            "[4611686018427387904]", "[4294967296,4294967296,0]"}) {
    expect_entry_refused(
        R"("dtype":"F32","shape":)" + std::string(shape) + R"(,"data_offsets":[0,0])",
        "below 2^61");
  }
  expect_entry_refused(R"("dtype":"F4","shape":[3],"data_offsets":[0,2])", "whole number of bytes");
}

TEST(SafetensorsHeader, OffsetsAgreeWithDtypeAndShape) {
  const auto offsets = [](const std::string& text) {
    return R"("dtype":"F32","shape":[2,2],"data_offsets":)" + text;
  };
  expect_entry_refused(offsets("[0,12]"), "want 16 bytes for F32 [2, 2], found 12");
  expect_entry_refused(offsets("[16,0]"), "want ordered data_offsets, found [16, 0]");
  expect_entry_refused(offsets("[0]"), "want two data_offsets, found 1");
  expect_entry_refused(offsets("[0,16,16]"), "want two data_offsets, found more");
  expect_entry_refused(offsets("[-1,15]"), "in data_offsets, found a negative number");
  expect_entry_refused(offsets("[0,\"16\"]"), "in data_offsets, found a string");
  expect_entry_refused(offsets("[18446744073709551600,18446744073709551615]"), "found 15");
  expect_entry_refused(offsets("[18446744073709551599,18446744073709551615]"),
                       "want data within the payload of 16 bytes");
}

std::string two_tensors(const char* first, const char* second) {
  return std::string(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)") + first +
         R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + second + "}}";
}

TEST(SafetensorsHeader, TensorsTileThePayload) {
  EXPECT_TRUE(parse(file_of(two_tensors("[4,8]", "[0,4]"), 8)).ok());
  expect_refused(file_of(two_tensors("[0,4]", "[2,6]"), 6), "overlaps tensor a");
  expect_refused(file_of(two_tensors("[0,4]", "[0,4]"), 4), "overlaps tensor");
  expect_refused(file_of(two_tensors("[0,4]", "[6,10]"), 10), "from byte 4 on, found 6");
  expect_refused(file_of(two_tensors("[1,5]", "[5,9]"), 9), "from byte 0 on, found 1");
}

TEST(SafetensorsHeader, EqualNamesAreRefused) {
  std::string json = two_tensors("[0,4]", "[4,8]");
  json[json.find("\"b\"") + 1] = 'a';
  expect_refused(file_of(json, 8), "tensor a: want one entry, found two");
}

}  // namespace
}  // namespace precis
