-- What servers sign the cursors of lists with, so that a client cannot make one up. In the database, because a page may come from
-- another server than the one before.
create table cursor_key (
  -- There is one.
  id     boolean primary key default true constraint cursor_key_is_one check (id),
  secret bytea not null constraint cursor_key_has_256_bits check (octet_length(secret) = 32)
);

-- gen_random_uuid() is cryptographically secure; each has 122 random bits.
insert into cursor_key (secret) values (sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())));
