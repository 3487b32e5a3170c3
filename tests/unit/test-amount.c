/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Amounts as users type and read them, sums near 2^64, and names that must not reach a terminal unescaped. */
#include <glib.h>
#include <locale.h>
#include <string.h>

#include "core/amount.h"
#include "core/errors.h"
#include "core/names.h"

#define UINT64(n) G_GUINT64_CONSTANT(n)

static void test_parse(void)
{
    static const struct {
        const char *text;
        guint64 bytes;
    } good[] = {
        {"0", 0},
        {"1", 1},
        {"007", 7},
        {"1K", 1024},
        {"3m", 3145728},
        {"2G", UINT64(2147483648)},
        {"1T", UINT64(1099511627776)},
        {"0G", 0},
        {"18446744073709551615", G_MAXUINT64},
        {"16777215T", G_MAXUINT64 - (UINT64(1) << 40) + 1},
    };
    static const char *const bad[] = {"",
                                      " 1",
                                      "1 ",
                                      "+1",
                                      "-1",
                                      "-0",
                                      "K",
                                      "1KK",
                                      "1KB",
                                      "1KiB",
                                      "1P",
                                      "1.5G",
                                      "1,5G",
                                      "1e3",
                                      "1e309",
                                      "0x10",
                                      "18446744073709551616",
                                      "16777216T",
                                      "10MB ",
                                      "nan",
                                      "1\n",
                                      "99999999999999999999999",
                                      "\xff",
                                      "\xd9\xa1"};
    guint64 bytes = 77;

    for (guint i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_true(vmig_amount_parse(good[i].text, TRUE, &bytes, &error));
        g_assert_cmpuint(bytes, ==, good[i].bytes);
        g_assert_cmpint(vmig_amount_parse(good[i].text, FALSE, &bytes, &error), ==, good[i].bytes != 0);
    }
    bytes = 77;
    for (guint i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_false(vmig_amount_parse(bad[i], TRUE, &bytes, &error));
        g_assert_error(error, VMIG_ERROR, (int)VMIG_ERROR_USAGE);
        g_assert_cmpuint(bytes, ==, 77);
    }
    g_assert_false(vmig_amount_parse(NULL, TRUE, &bytes, NULL));
}

static void test_count(void)
{
    g_autoptr(GError) error = NULL;
    guint64 value = 5;

    g_assert_true(vmig_count_parse("1", 1, 9, &value, &error));
    g_assert_cmpuint(value, ==, 1);
    g_assert_true(vmig_count_parse("18446744073709551615", 0, G_MAXUINT64, &value, &error));
    g_assert_cmpuint(value, ==, G_MAXUINT64);
    g_assert_false(vmig_count_parse("0", 1, 9, &value, &error));
    g_assert_error(error, VMIG_ERROR, (int)VMIG_ERROR_USAGE);
    g_assert_cmpstr(error->message, ==, "'0' is not a whole number from 1 to 9");
    g_assert_false(vmig_count_parse("10", 1, 9, &value, NULL));
    g_assert_false(vmig_count_parse("5K", 1, 9999, &value, NULL));
    g_assert_false(vmig_count_parse("", 0, 9, &value, NULL));
    g_assert_false(vmig_count_parse("\x1b[2J", 0, 9, &value, NULL));
}

static void test_format(void)
{
    static const struct {
        guint64 bytes;
        const char *text;
    } cases[] = {
        {0, "0 bytes"},
        {1, "1 byte"},
        {999, "999 bytes"},
        {1000, "1.00 kB"},
        {1234, "1.23 kB"},
        {9994, "9.99 kB"},
        {9995, "10.0 kB"},
        {99949, "99.9 kB"},
        {99950, "100 kB"},
        {999499, "999 kB"},
        {999500, "1.00 MB"},
        {UINT64(2092499999), "2.09 GB"},
        {UINT64(1099511627776), "1.10 TB"},
        {UINT64(500000000000000), "500 TB"},
        {G_MAXUINT64, "18.4 EB"},
    };
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = vmig_amount_format(cases[i].bytes);
        g_assert_cmpstr(text, ==, cases[i].text);
    }
}

static void test_duration(void)
{
    static const struct {
        guint64 seconds;
        const char *text;
    } cases[] = {{0, "0 s"},
                 {59, "59 s"},
                 {60, "1 min"},
                 {125, "2 min 5 s"},
                 {3600, "1 h"},
                 {3780, "1 h 3 min"},
                 {86399, "23 h 59 min"},
                 {187200, "2 d 4 h"},
                 {G_MAXUINT64, "213503982334601 d 7 h"}};
    for (guint i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *text = vmig_duration_format(cases[i].seconds);
        g_assert_cmpstr(text, ==, cases[i].text);
    }
}

static void test_sums(void)
{
    guint64 sum = G_MAXUINT64 - 2;

    g_assert_true(vmig_size_add(&sum, 2));
    g_assert_cmpuint(sum, ==, G_MAXUINT64);
    g_assert_false(vmig_size_add(&sum, 1));
    g_assert_cmpuint(sum, ==, G_MAXUINT64);
    g_assert_cmpuint(vmig_room_needed(0, 0, 2), ==, 0);
    g_assert_cmpuint(vmig_room_needed(100, 50, 2), ==, 210);
    g_assert_cmpuint(vmig_room_needed(100, 50, 1), ==, 158); /* rounded up */
    g_assert_cmpuint(vmig_room_needed(1, 0, 2), ==, 2);
    g_assert_cmpuint(vmig_room_needed(G_MAXUINT64, 0, 2), ==, G_MAXUINT64);
    g_assert_cmpuint(vmig_room_needed(0, UINT64(1) << 63, 2), ==, G_MAXUINT64);
    g_assert_cmpuint(vmig_room_needed(G_MAXUINT64 - 1, 1, 2), ==, G_MAXUINT64);
}

static void assert_escaped(const char *bytes, gssize length, const char *expected)
{
    g_autofree char *got = vmig_text_escape(bytes, length);

    g_assert_cmpstr(got, ==, expected);
}

static void test_escape(void)
{
    assert_escaped(NULL, -1, "");
    assert_escaped("", -1, "");
    assert_escaped("plain 'q' \"d\" ü € 😀 \\", -1, "plain 'q' \"d\" ü € 😀 \\");
    assert_escaped("a\nb\t\x1b[2J\x7f", -1, "a\\x0ab\\x09\\x1b[2J\\x7f");
    assert_escaped("\xff\xc3(\xe2\x82", -1, "\\xff\\xc3(\\xe2\\x82");
    assert_escaped("a\0b", 3, "a\\x00b");
    assert_escaped("\0", 1, "\\x00");
    assert_escaped("abc", 2, "ab");
    assert_escaped("\xe2\x82\xac", 2, "\\xe2\\x82");
    assert_escaped("\xc2\x9b", -1, "\\xc2\\x9b");          /* CSI as a single character */
    assert_escaped("\xe2\x80\xae", -1, "\\xe2\\x80\\xae"); /* right-to-left override */
    assert_escaped("\xe2\x80\xa8", -1, "\\xe2\\x80\\xa8"); /* line separator */
    assert_escaped("\xed\xa0\x80", -1, "\\xed\\xa0\\x80"); /* surrogate */
    assert_escaped("\xc0\xaf", -1, "\\xc0\\xaf");          /* overlong */
}

static void test_escape_length(void)
{
    for (gsize n = VMIG_TEXT_MAX - 12; n < VMIG_TEXT_MAX + 12; n++) {
        g_autofree char *plain = g_strnfill(n, 'a');
        g_autofree char *mixed = g_strconcat(plain, "€\n", NULL);
        g_autofree char *got = vmig_text_escape(mixed, -1);
        g_assert_cmpuint(strlen(got), <=, VMIG_TEXT_MAX);
        g_assert_true(g_utf8_validate(got, -1, NULL));
    }
    g_autofree char *many = g_strnfill(100000, '\n');
    g_autofree char *got = vmig_text_escape(many, -1);
    g_assert_cmpuint(strlen(got), <=, VMIG_TEXT_MAX);
    g_assert_true(g_str_has_suffix(got, "\\x0a..."));
}

int main(int argc, char **argv)
{
    setlocale(LC_ALL, ""); /* a decimal comma or a Turkish I must not matter */
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/amount/parse", test_parse);
    g_test_add_func("/amount/count", test_count);
    g_test_add_func("/amount/format", test_format);
    g_test_add_func("/amount/duration", test_duration);
    g_test_add_func("/amount/sums", test_sums);
    g_test_add_func("/names/escape", test_escape);
    g_test_add_func("/names/escape-length", test_escape_length);
    return g_test_run();
}
