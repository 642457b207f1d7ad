-- Finding a customer by a part of its name, company or address, whatever the case and the diacritics: "Novak" finds
-- "Novák".

create extension if not exists pg_trgm;

-- organisation_id and the trigrams in one index.
create extension if not exists btree_gin;

-- The form in which texts are compared. The same on every machine: nothing in it depends on the database's locale.
create function search_fold(given text) returns text
  language sql immutable strict parallel safe
  return replace(replace(replace(replace(
    translate(
      lower(
        -- NFKD takes letters and their diacritics apart and makes full-width letters and ligatures plain ones. What is
        -- removed: combining marks, Hebrew points and Arabic vowel signs.
        regexp_replace(
          normalize(given, NFKD),
          '[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u064b-\u065f\u0670\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]',
          '', 'g'
        )
        -- ASCII alone, so that no locale has a say; the other cased letters of names are spelled out.
        collate "C"
      ),
      'ŁłØøĐđÐðĦħŦŧŊŋıÆŒÞẞ' || 'ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣςΤΥΦΧΨΩ'
        || 'АБВГДЕЖЗИКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯЂЄЅІЈЉЊЋЏҐ' || 'ԱԲԳԴԵԶԷԸԹԺԻԼԽԾԿՀՁՂՃՄՅՆՇՈՉՊՋՌՍՎՏՐՑՒՓՔՕՖ',
      'llooddddhhttnniæœþß' || 'αβγδεζηθικλμνξοπρσστυφχψω'
        || 'абвгдежзиклмнопрстуфхцчшщъыьэюяђєѕіјљњћџґ' || 'աբգդեզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆ'
    ),
    'ß', 'ss'), 'æ', 'ae'), 'œ', 'oe'), 'þ', 'th');

-- The pattern for `like` that finds the term anywhere; % and _ in it stand for themselves.
create function search_pattern(term text) returns text
  language sql immutable strict parallel safe
  return '%' || regexp_replace(search_fold(term), '([\\%_])', '\\\1', 'g') || '%';

-- The given name stands on both sides of the family name, so that either order finds it. A line break, which no term
-- holds, keeps a term from reaching from one field into the next.
alter table customer add column search text collate "C" not null generated always as (
  search_fold(
    coalesce(first_name, '') || ' ' || coalesce(last_name, '') || ' ' || coalesce(first_name, '')
    || E'\n' || coalesce(company_name, '') || E'\n' || coalesce(email, '')
  )
) stored;
