-- A receipt is on the shard of an organisation of its batches, so that it is committed together with them.
--
-- Both changes are one statement, so that the table is never without its key; it is not distributed before it has this column.
alter table write_receipt
  -- Of the batches' organisations one, whose shard has the receipt (write_batch_at). 0: the database is not distributed.
  add column organisation_id int8 not null default 0,
  drop constraint write_receipt_pkey,
  -- The organisation comes last: servers of the version before do not name it.
  add constraint write_receipt_pkey primary key (writer_id, batch_number, organisation_id);
