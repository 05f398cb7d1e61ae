/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once
/*
 * Where the benchmark works: a mount namespace of its own, in it a directory in memory, and in that
 * an ext4 image. All of it goes with the last process in the namespace, however that ends.
 * Thread safety: one thread.
 */
#include <glib.h>

typedef struct Place {
    char *root;    /* in memory; holds what follows */
    char *image;   /* the ext4 filesystem, mounted */
    char *below;   /* the same again: mounts in place do not cover it */
    char *mounts;  /* mountpoints */
    char *scratch; /* scripts, archives, outputs, logs */
    char *state;   /* of leasefs */
    char *tracing; /* tracefs; NULL where the kernel has none */
} Place;

/* The image is a file of `size` bytes below `image_dir`. NULL with an error. */
Place *place_new(const char *image_dir, guint64 size, GError **error);
void place_free(Place *place);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Place, place_free)

/* Writes back all that is dirty in the image. */
void place_settle(Place *place);
/* Gives the image's unused blocks back to the memory that it lies in. */
void place_trim(Place *place);
