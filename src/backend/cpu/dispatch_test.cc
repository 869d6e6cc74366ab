// The choice of the instruction set: what runs is what was asked for, or an error that says why
// not.
#include "backend/cpu/dispatch.h"

#include <cstdlib>
#include <string>

#include <gtest/gtest.h>

#include "backend/cpu/backend.h"

namespace precis {
namespace {

class ForcedIsa {
 public:
  explicit ForcedIsa(const char* name) {
    if (const char* before = std::getenv("PRECIS_FORCE_ISA")) before_ = before;
    setenv("PRECIS_FORCE_ISA", name, 1);
  }
  ~ForcedIsa() { setenv("PRECIS_FORCE_ISA", before_.c_str(), 1); }

 private:
  std::string before_;
};

TEST(ChooseIsa, TheForcedOneIsWhatTheBackendRunsOnOrIsRefusedByName) {
  for (const Isa isa : {Isa::kAvx512, Isa::kAvx2, Isa::kBaseline}) {
    const std::string name(isa_name(isa));
    SCOPED_TRACE(name);
    const ForcedIsa forced(name.c_str());
    ThreadPool threads(1);
    const Result<std::unique_ptr<Backend>> backend = make_cpu_backend(threads);
    ASSERT_EQ(backend.ok(), is_available(isa));
    if (backend.ok()) {
      EXPECT_EQ((*backend)->isa(), name);
      EXPECT_EQ((*backend)->name(), "cpu");
    } else {
      EXPECT_EQ(backend.error().code, ErrorCode::kInvalidArgument);
      EXPECT_NE(backend.error().message.find(name), std::string::npos);
    }
  }
  EXPECT_TRUE(is_available(Isa::kBaseline));
}

TEST(ChooseIsa, EmptyVariableMeansTheBest) {
  const ForcedIsa forced("");
  const Result<Isa> chosen = choose_isa();
  ASSERT_TRUE(chosen.ok());
  for (const char* name : {"avx512", "avx2"}) {
    const ForcedIsa better(name);
    const Result<Isa> isa = choose_isa();
    if (!isa.ok()) continue;
    EXPECT_EQ(isa_name(*chosen), name);
    break;
  }
}

TEST(ChooseIsa, UnknownNameIsRefusedByName) {
  const ForcedIsa forced("avx1024");
  const Result<Isa> chosen = choose_isa();
  ASSERT_FALSE(chosen.ok());
  EXPECT_EQ(chosen.error().code, ErrorCode::kInvalidArgument);
  EXPECT_NE(chosen.error().message.find("avx1024"), std::string::npos);
}

}  // namespace
}  // namespace precis
