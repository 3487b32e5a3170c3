/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Random numbers from a seed: splitmix64, one state per stream, so that more of one kind does not change the others. */
#include "sim.h"

void sim_random_seed(SimRandom *random, guint64 seed, guint64 stream)
{
    random->state = seed * G_GUINT64_CONSTANT(0x9e3779b97f4a7c15) ^ (stream * G_GUINT64_CONSTANT(0xd1342543de82ef95));
    sim_random_next(random);
    sim_random_next(random);
}

guint64 sim_random_next(SimRandom *random)
{
    guint64 z = random->state += G_GUINT64_CONSTANT(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * G_GUINT64_CONSTANT(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * G_GUINT64_CONSTANT(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

guint sim_random_below(SimRandom *random, guint n)
{
    return (guint)(sim_random_next(random) % n);
}

gint64 sim_random_range(SimRandom *random, gint64 low, gint64 high)
{
    return low + (gint64)(sim_random_next(random) % (guint64)(high - low + 1));
}

gint64 sim_random_scale(SimRandom *random, gint64 low, gint64 high)
{
    guint doublings = 0;

    while (low << (doublings + 1) <= high)
        doublings++;
    gint64 floor = low << sim_random_below(random, doublings + 1);
    gint64 result = sim_random_range(random, floor, 2 * floor);
    return MIN(result, high);
}

gboolean sim_random_percent(SimRandom *random, guint percent)
{
    return sim_random_below(random, 100) < percent;
}
