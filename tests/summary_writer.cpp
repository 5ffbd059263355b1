// Event files: checksums against the standard's own, framing taken apart byte by byte, and errors.
// tests/tensorboard holds what is in them against the real tensorboard.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <bit>
#include <cmath>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "tandem/core/error.h"
#include "tandem/core/factory.h"
#include "tandem/io/detail/utf8.h"
#include "tandem/log/event_file.h"
#include "tandem/log/summary_writer.h"
#include "tests/support/errors.h"
#include "tests/support/folder.h"

namespace {

using namespace tandem;
using tandem::testing::error_of;
using tandem::testing::read_text;
using tandem::testing::TemporaryFolder;
namespace fs = std::filesystem;

/// A little-endian number of `bytes` bytes.
uint64_t number(std::string_view text, size_t at, int bytes) {
  uint64_t v = 0;
  for (int i = bytes; i-- > 0;) v = v << 8 | uint8_t(text.at(at + size_t(i)));
  return v;
}

uint32_t unmasked(uint32_t c) {
  const uint32_t turned = c - 0xA282EAD8u;
  return turned >> 17 | turned << 15;
}

std::vector<std::string> records(const std::string& path) {
  const std::string text = read_text(path);
  std::vector<std::string> found;
  for (size_t at = 0; at < text.size();) {
    const size_t n = size_t(number(text, at, 8));
    EXPECT_EQ(unmasked(uint32_t(number(text, at + 8, 4))), crc32c(text.substr(at, 8)));
    found.push_back(text.substr(at + 12, n));
    EXPECT_EQ(unmasked(uint32_t(number(text, at + 12 + n, 4))), crc32c(found.back()));
    at += 16 + n;
    EXPECT_LE(at, text.size());
  }
  return found;
}

TEST(Crc32c, TheExamplesOfTheStandard) {  // RFC 3720, B.4
  std::string rising, falling;
  for (int i = 0; i < 32; ++i) {
    rising += char(i);
    falling += char(31 - i);
  }
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(crc32c(std::string(32, '\xFF')), 0x62A8AB43u);
  EXPECT_EQ(crc32c(rising), 0x46DD794Eu);
  EXPECT_EQ(crc32c(falling), 0x113FDB5Cu);
  const uint8_t read_command[48] = {0x01, 0xC0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,    0, 0, 0, 0,
                                    0x14, 0,    0, 0, 0, 0, 4, 0, 0, 0, 0, 0x14, 0, 0, 0, 0x18,
                                    0x28, 0,    0, 0, 0, 0, 0, 0, 2, 0, 0, 0,    0, 0, 0, 0};
  EXPECT_EQ(crc32c({reinterpret_cast<const char*>(read_command), 48}), 0xD9963A56u);
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(crc32c(""), 0u);
}

TEST(RecordWriter, FramesWhatItIsGiven) {
  const TemporaryFolder folder;
  const std::string path = folder / "x.tfrecord", long_one(200'000, 'x');
  RecordWriter writer(path);
  writer.write("first");
  writer.write("");
  EXPECT_EQ(fs::file_size(path), 0u);  // gathered so far
  writer.flush();
  EXPECT_EQ(records(path), (std::vector<std::string>{"first", ""}));
  writer.write(long_one);  // goes out by itself
  EXPECT_EQ(records(path), (std::vector<std::string>{"first", "", long_one}));
  writer.write("last");
  writer.close();
  writer.close();
  EXPECT_EQ(records(path).back(), "last");
  EXPECT_EQ(error_of([&] { writer.write("later"); }),
            cat("RecordWriter(", path, "): the file is closed"));
  EXPECT_EQ(error_of([&] { RecordWriter again(path); }),
            cat("RecordWriter(", path, "): byte 0: cannot make the file: File exists"));
}

TEST(RecordWriter, AFullDiskIsAnErrorAndTheEndOfTheFile) {
  const TemporaryFolder folder;
  RecordWriter writer(folder / "x");
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  rlimit tight = before;
  tight.rlim_cur = 1000;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &tight), 0);
  writer.write(std::string(2000, 'x'));
  const std::string first = error_of([&] { writer.flush(); });
  const std::string second = error_of([&] { writer.write("more"); });
  setrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, handler);
  EXPECT_EQ(first,
            cat("RecordWriter(", folder / "x", "): byte 1000: cannot write: File too large"));
  EXPECT_EQ(second, cat("RecordWriter(", folder / "x", "): the file is closed"));
}

TEST(SummaryWriter, TheFirstEventNamesTheVersion) {
  const TemporaryFolder folder;
  const SummaryWriter log(folder / "a/b", {.suffix = ".test"});
  const std::string name = fs::path(log.path()).filename();
  EXPECT_EQ(log.path(), log.folder() + "/" + name);
  EXPECT_TRUE(name.starts_with("events.out.tfevents.")) << name;
  EXPECT_NE(name.find(cat(".", getpid(), ".")), std::string::npos) << name;
  EXPECT_TRUE(name.ends_with(".test")) << name;
  const auto found = records(log.path());
  ASSERT_EQ(found.size(), 1u);
  ASSERT_EQ(found[0].size(), 9 + 2 + 13u);
  EXPECT_EQ(found[0][0], 1 << 3 | 1);  // wall_time, a double
  const double age = double(time(nullptr)) - std::bit_cast<double>(number(found[0], 1, 8));
  EXPECT_GE(age, -1);
  EXPECT_LT(age, 600);
  EXPECT_EQ(found[0].substr(9),
            "\x1A\x0D"
            "brain.Event:2");
}

TEST(SummaryWriter, FlushesByTimeByCallAndAtTheEnd) {
  const TemporaryFolder folder;
  std::string path;
  {
    SummaryWriter log(folder.path, {.flush_seconds = 1e9});
    path = log.path();
    log.add_scalar("a", 1, 0);
    EXPECT_EQ(records(path).size(), 1u);
    log.flush();
    EXPECT_EQ(records(path).size(), 2u);
    log.add_scalar("a", 2, 1);
    EXPECT_EQ(records(path).size(), 2u);
    SummaryWriter moved = std::move(log);
    moved.add_text("t", "text", 1);
  }
  EXPECT_EQ(records(path).size(), 4u);
  SummaryWriter at_once(folder.path, {.flush_seconds = 0});
  EXPECT_NE(at_once.path(), path);
  at_once.add_scalar("a", 1, 0);
  EXPECT_EQ(records(at_once.path()).size(), 2u);
}

TEST(SummaryWriter, ManyThreadsWriteWholeRecords) {
  const TemporaryFolder folder;
  SummaryWriter log(folder.path);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&log, t] {
      for (int i = 0; i < 2000; ++i) log.add_scalar(cat("tag", t), i, i);
    });
  for (std::thread& t : threads) t.join();
  log.close();
  EXPECT_EQ(records(log.path()).size(), 8001u);
}

TEST(SummaryWriter, Errors) {
  const TemporaryFolder folder;
  SummaryWriter log(folder.path);
  const std::string name = cat("SummaryWriter(", folder.path, ")");
  EXPECT_EQ(error_of([&] { log.add_scalar("\xFF", 1, 0); }),
            name + ".add_scalar(...): the tag is not UTF-8");
  EXPECT_EQ(error_of([&] { log.add_text("t", "\xC0\x80", 0); }),
            name + ".add_text(t): the text is not UTF-8");
  EXPECT_EQ(error_of([&] { log.add_histogram("h", empty({0}), 0); }),
            name + ".add_histogram(h): of 0 values none is finite");
  EXPECT_EQ(error_of([&] { log.add_histogram("h", full({3}, NAN), 0); }),
            name + ".add_histogram(h): of 3 values none is finite");
  EXPECT_THROW(log.add_histogram("h", Tensor(), 0), ValueError);
  EXPECT_THROW(log.add_scalars("s", {{"\x80", 1.0}}, 0), ValueError);
  log.close();
  EXPECT_THROW(log.add_scalar("a", 1, 0), IOError);
  const std::string blocked = log.path() + "/inner";
  EXPECT_EQ(error_of([&] { SummaryWriter other(blocked); }),
            cat("SummaryWriter(", blocked, "): cannot make the folder: Not a directory"));
}

TEST(Utf8, AsTheUnicodeTableHasIt) {
  for (const char* good : {"", "plain", "\xC3\xA9", "\xE2\x82\xAC", "\xED\x9F\xBF", "\xEE\x80\x80",
                           "\xF0\x9F\x99\x82", "\xF4\x8F\xBF\xBF"})
    EXPECT_TRUE(detail::is_utf8(good)) << good;
  EXPECT_TRUE(detail::is_utf8(std::string_view("\0", 1)));
  for (const char* bad : {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80",
                          "\xE2\x82", "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80",
                          "\xC3", "a\xFF", "\xE2\x28\xA1"})
    EXPECT_FALSE(detail::is_utf8(bad)) << bad;
}

}  // namespace
